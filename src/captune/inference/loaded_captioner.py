"""The interface of loaded models: they caption images by path, bytes, array or PIL image.

The model runs in torch (`captioner.py`) or as an exported graph (`exported/`), which must not load
torch. So this module imports neither.
"""

from __future__ import annotations

import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import numpy.typing as npt
from PIL import Image

from captune.data import DecodeMode, ImageDecoder, image_from_array
from captune.errors import CaptioningError, DataError, ImageError
from captune.inference.batches import BatchCaptioner
from captune.inference.decoding.settings import DecodingOptions, decoding_config
from captune.inference.images import is_folder
from captune.inference.prepare import AnyImage, OnFailure
from captune.net import UrlFetcher, UrlImage, is_url
from captune.recipe import GenerateConfig
from captune.records import Prediction, TarMember, ZipMember
from captune.suggest import quote_words

if TYPE_CHECKING:
    from captune.hub import PushedRepo

ImageArray = npt.NDArray[np.uint8]
"""uint8 (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA."""

ImageInput = AnyImage | str | ImageArray
"""A path, encoded bytes, a member of an archive, a PIL image, or a numpy array."""

_ONE_IMAGE = (str, bytes, os.PathLike, ZipMember, TarMember, UrlImage, Image.Image)
_SHOWN_FAILURES = 5


class LoadedCaptioner(ABC):
    """A model ready to caption; public as `captune.Captioner`."""

    __slots__ = ()

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        *,
        device: str = "auto",
        revision: str | None = None,
        precision: str = "auto",
    ) -> LoadedCaptioner:
        """Return `captune.load` of the same arguments, under the name that transformers uses."""
        # Imported by name: the modules that load models import this one.
        load = importlib.import_module("captune.inference").load
        loaded: LoadedCaptioner = load(model, device=device, revision=revision, precision=precision)
        return loaded

    # Implemented for each runtime.

    @property
    @abstractmethod
    def model(self) -> Any:
        """The transformers model."""

    @property
    @abstractmethod
    def processor(self) -> Any:
        """The transformers processor: image processor and tokenizer."""

    @abstractmethod
    def describe(self) -> str:
        """Return runtime, device and precision in one line."""

    @abstractmethod
    def complete(self, decoding: GenerateConfig) -> GenerateConfig:
        """Return settings; unset fields come from the model's own, then from captune's defaults."""

    @abstractmethod
    def stream(
        self,
        images: Iterable[tuple[str, AnyImage]],
        *,
        config: GenerateConfig,
        batch_size: int | None = None,
        decode: DecodeMode | ImageDecoder = "isolated",
        on_failure: OnFailure | None = None,
    ) -> Generator[Prediction]:
        """Yield one caption per image, for any number of images, in order.

        Args:
            images: Ids and images; read slightly ahead of what is yielded.
            config: Complete decoding settings.
            batch_size: Images per batch, at least 1; `None`: by the free memory.
            decode: Where images are decoded; see `caption`.
            on_failure: Called with each unusable image, which is then skipped; `None`: raise its
                error.

        Raises:
            ImageError: An image cannot be used and `on_failure` is `None`.
            ModelError: The prompt leaves no room for a caption.
        """

    @abstractmethod
    def open_batches(self) -> BatchCaptioner:
        """Return the model, ready for batches that the caller forms; see `BatchCaptioner`."""

    @abstractmethod
    def save_pretrained(self, folder: str | Path) -> None:
        """Save a plain Hugging Face folder that transformers loads without captune."""

    @abstractmethod
    def push_to_hub(self, repo: str, *, private: bool = False) -> PushedRepo:
        """Push the model to a repository of the hub, in one commit.

        `captune push RUN REPO` also pushes a run's scores, examples and model card.

        Args:
            repo: `owner/name`, or `name` for your own account.
            private: Whether the repository must be private.

        Raises:
            OutputError: The push failed.
        """

    # Shared by all runtimes.

    def __call__(
        self,
        images: ImageInput | Iterable[ImageInput],
        *,
        batch_size: int | None = None,
        **decoding: Unpack[DecodingOptions],
    ) -> list[Prediction]:
        """Return `caption` of the same arguments, as a transformers pipeline would be called."""
        return self.caption(images, batch_size=batch_size, **decoding)

    def caption(
        self,
        images: ImageInput | Iterable[ImageInput],
        *,
        batch_size: int | None = None,
        on_failure: OnFailure | None = None,
        urls: UrlFetcher | None = None,
        decode: DecodeMode | ImageDecoder = "isolated",
        **decoding: Unpack[DecodingOptions],
    ) -> list[Prediction]:
        """Return one caption per image, in order; always a list, even for a single image.

        The id of an image is its path, or its index in the list if it has no path.

        Args:
            images: One image or several: path, bytes, PIL image, or uint8 array (H, W), (H, W, 1),
                (H, W, 3) in RGB or (H, W, 4) in RGBA; an array (B, H, W, 3) is a list of images.
            batch_size: Images per pass; `None`: by the free memory, at most 16 on CPUs.
            on_failure: Called with each unusable image, which then gets no caption.
            urls: Downloads images given as URLs: `UrlFetcher()`; `None`: URLs are rejected.
            decode: `isolated`: decode images in child processes with limits of memory and time,
                which take a tenth of a second per call to start; `inline`: in this process, for
                images that you trust; or an open decoder.
            **decoding: Fields of `GenerateConfig`, such as `num_beams=5`; others come from the
                model's own generation_config.json, else from captune's defaults.

        Raises:
            ImageError: The only image is unusable, and `on_failure` is `None`.
            CaptioningError: Some images of a list are unusable, and `on_failure` is `None`. It is
                raised at the end and holds the captions of the others in `predictions`.
            DataError: A path is a folder, a URL is given without `urls`, or an array or object is
                not an image.
            RecipeError: A setting does not exist or has an invalid value.
        """
        config = self.complete(decoding_config(decoding))
        listed, is_one = _as_list(images)
        named = [_name(image, place, urls=urls) for place, image in enumerate(listed)]
        failures: dict[str, ImageError] = {}
        predictions = list(
            self.stream(
                named,
                config=config,
                batch_size=batch_size,
                decode=decode,
                on_failure=failures.__setitem__ if on_failure is None else on_failure,
            )
        )
        if failures:
            if is_one:
                raise next(iter(failures.values()))
            raise _failed(failures, predictions, total=len(listed))
        return predictions


def _failed(
    failures: dict[str, ImageError], predictions: list[Prediction], *, total: int
) -> CaptioningError:
    shown = [f"{name}: {error.what}" for name, error in list(failures.items())[:_SHOWN_FAILURES]]
    if len(failures) > _SHOWN_FAILURES:
        shown.append(f"and {len(failures) - _SHOWN_FAILURES} more")
    verb = "has" if total - len(predictions) == 1 else "have"
    return CaptioningError(
        f"{total - len(predictions)} of {total} images {verb} no caption: {'; '.join(shown)}",
        fix="the captions of the others are in this error's `predictions`, the reasons in"
        " `failures`; with on_failure=print no error is raised",
        predictions=predictions,
        failures=failures,
    )


def _as_list(images: ImageInput | Iterable[ImageInput]) -> tuple[list[ImageInput], bool]:
    """Return the images, and whether a single one was given, not a list."""
    if isinstance(images, np.ndarray):
        return (list(images), False) if images.ndim == 4 else ([images], True)
    if isinstance(images, _ONE_IMAGE) or not isinstance(images, Iterable):
        # Any other object is rejected by its type later, like an item of a list.
        return [images], True
    # Also what can be read only once, such as the result of `Path.glob`.
    return list(images), False


def _name(image: ImageInput, place: int, *, urls: UrlFetcher | None) -> tuple[str, AnyImage]:
    if isinstance(image, str) and is_url(image):
        if urls is None:
            raise DataError(
                f"{image} is a URL", fix="download the image, or give urls=UrlFetcher()"
            )
        return image, UrlImage(image, urls)
    if isinstance(image, UrlImage):
        return image.url, image
    if isinstance(image, str | os.PathLike):
        path = Path(image)
        if is_folder(path):
            raise DataError(
                f"{path} is a folder",
                fix=f"captune caption MODEL {quote_words(str(path))}, or list its images",
            )
        return str(path), path
    if isinstance(image, np.ndarray):
        return str(place), image_from_array(image, name=f"image {place}")
    if not isinstance(image, _ONE_IMAGE):
        raise DataError(
            f"image {place} is of type {type(image).__name__}",
            fix="give a path, encoded bytes, a PIL image or a uint8 array (height, width, 3)",
        )
    return str(place), image
