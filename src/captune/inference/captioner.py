"""What `captune.load` gives: a model that captions images by path, bytes or PIL image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from PIL import Image

from captune.data import DecodeMode, ImageDecoder
from captune.errors import DataError
from captune.hardware import Hardware, choose_hardware
from captune.inference.caption import OnFailure, caption_images
from captune.inference.decoding.settings import DecodingOptions, decoding_config
from captune.inference.prepare import AnyImage, Execution
from captune.models import Captioner, complete_decoding, load_captioner, own_decoding
from captune.net import UrlFetcher, UrlImage, is_url
from captune.recipe import GenerateConfig
from captune.records import Prediction, TarMember, ZipMember

ImageInput = AnyImage | str
"""A path, encoded bytes, a member of a zip, or a PIL image."""


@dataclass(frozen=True, slots=True)
class ImageCaptioner:
    """A model ready to caption.

    Attributes:
        captioner: The model, on its device.
        hardware: Device and precision.
    """

    captioner: Captioner
    hardware: Hardware

    def caption(
        self,
        images: ImageInput | Sequence[ImageInput],
        *,
        batch_size: int = 16,
        on_failure: OnFailure | None = None,
        urls: UrlFetcher | None = None,
        decode: DecodeMode | ImageDecoder = "isolated",
        **decoding: Unpack[DecodingOptions],
    ) -> list[Prediction]:
        """A caption an image, in order; always a list, also of one.

        The id of an image is its path, or its place in the list where it has none.

        Args:
            images: One image or a list: path, bytes, or PIL image.
            batch_size: Images at once.
            on_failure: Told of each image that cannot be read, which is then left out.
            urls: Opens images that are given as URLs: `UrlFetcher()`; `None`: URLs are refused.
            decode: `isolated`: images are decoded in child processes with limits of memory and
                time, which start in a tenth of a second per call; `inline`: in this process, for
                images that you trust; or an open decoder.
            **decoding: Fields of `GenerateConfig`, such as `num_beams=5`; the others are as the
                model's own generation_config.json has them, else captune's defaults.

        Raises:
            ImageError: An image cannot be read and `on_failure` is `None`.
            DataError: A path is a folder, or a URL without `urls`.
            RecipeError: A setting that does not exist or does not fit.
        """
        config = self.complete(decoding_config(decoding))
        named = [_name(image, place, urls=urls) for place, image in enumerate(_as_list(images))]
        return list(
            caption_images(
                self.captioner,
                named,
                config=config,
                batch_size=batch_size,
                execution=Execution(self.hardware, decode),
                on_failure=on_failure,
            )
        )

    def complete(self, decoding: GenerateConfig) -> GenerateConfig:
        """The settings that were set, then the model's own, then captune's defaults."""
        return complete_decoding(decoding, own_decoding(self.captioner.model.generation_config))


def load(
    model: str | Path, *, device: str = "auto", revision: str | None = None, precision: str = "fp32"
) -> ImageCaptioner:
    """A captioner from a folder or hub id.

    Args:
        model: Folder saved by captune or transformers, or a hub id.
        device: `auto` (CUDA, XPU, MPS, CPU in that order) or a torch device name.
        revision: Hub branch, tag or commit; `None`: the newest.
        precision: `fp32`, whose captions equal plain transformers'; `bf16` or `fp16`, several
            times faster where the hardware has them; `auto`: the fastest of them.

    Raises:
        ModelError: It does not exist, has no weights, or is of an unknown family.
        RecipeError: The device is not there, or does not compute in that precision.
    """
    hardware = choose_hardware(device, precision, section="")
    captioner = load_captioner(model, revision=revision)
    captioner.move_to(hardware.device)
    captioner.eval_mode()
    return ImageCaptioner(captioner, hardware)


def _as_list(images: ImageInput | Sequence[ImageInput]) -> Sequence[ImageInput]:
    if isinstance(images, str | bytes | Path | ZipMember | TarMember | UrlImage | Image.Image):
        return [images]
    return images


def _name(image: ImageInput, place: int, *, urls: UrlFetcher | None) -> tuple[str, AnyImage]:
    if isinstance(image, str):
        if is_url(image):
            if urls is None:
                raise DataError(
                    f"{image} is a URL", fix="download the image, or give urls=UrlFetcher()"
                )
            return image, UrlImage(image, urls)
        image = Path(image)
    if isinstance(image, UrlImage):
        return image.url, image
    if isinstance(image, Path):
        if image.is_dir():
            raise DataError(
                f"{image} is a folder", fix=f"captune caption MODEL {image}, or list its images"
            )
        return str(image), image
    return str(place), image
