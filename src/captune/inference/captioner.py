"""A captioner that runs in torch, and `captune.load`, which also loads exported models."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captune.data import DecodeMode, ImageDecoder
from captune.errors import ModelError
from captune.hub import EXPORT_FILE, PushedRepo, RepoFile, find_model, open_repo, push_files
from captune.inference.batches import BatchCaptioner
from captune.inference.loaded_captioner import LoadedCaptioner
from captune.inference.prepare import AnyImage, Execution, OnFailure
from captune.recipe import GenerateConfig, fill_decoding
from captune.records import Prediction
from captune.storage import expand_home

if TYPE_CHECKING:
    from captune.hardware import Hardware
    from captune.models import Captioner


@dataclass(frozen=True, slots=True)
class ImageCaptioner(LoadedCaptioner):
    """A transformers model ready to caption.

    Attributes:
        captioner: The model, on its device.
        hardware: Device and precision.
        is_exact_enough: Whether the precision is `auto`, so that a side of the model whose captions
            it would change is computed in float32; see `Execution`.
    """

    captioner: Captioner
    hardware: Hardware
    is_exact_enough: bool = False
    _kept: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def model(self) -> Any:
        """The transformers model."""
        return self.captioner.model

    @property
    def processor(self) -> Any:
        """The transformers processor: image processor and tokenizer."""
        return self.captioner.processor()

    def describe(self) -> str:
        """Return device, chip, memory and precision."""
        return self.hardware.describe() + (" (auto)" if self.is_exact_enough else "")

    def complete(self, decoding: GenerateConfig) -> GenerateConfig:
        """See `LoadedCaptioner.complete`."""
        from captune.models import model_decoding

        return fill_decoding(decoding, model_decoding(self.captioner.model.generation_config))

    def stream(
        self,
        images: Iterable[tuple[str, AnyImage]],
        *,
        config: GenerateConfig,
        batch_size: int | None = None,
        decode: DecodeMode | ImageDecoder = "isolated",
        on_failure: OnFailure | None = None,
    ) -> Generator[Prediction]:
        """See `LoadedCaptioner.stream`."""
        from captune.inference.caption import caption_images

        yield from caption_images(
            self.captioner,
            images,
            config=config,
            batch_size=batch_size,
            execution=Execution(self.hardware, decode, self.is_exact_enough, self._kept),
            on_failure=on_failure,
        )

    def open_batches(self) -> BatchCaptioner:
        """See `LoadedCaptioner.open_batches`."""
        from captune.inference.caption import open_torch_batches

        kept = Execution(self.hardware, "isolated", self.is_exact_enough, self._kept)
        batches = open_torch_batches(self.captioner, kept)
        # A caption must not depend on how many images came before it.
        batches.form.settle()
        return batches

    def save_pretrained(self, folder: str | Path) -> None:
        """Save a plain Hugging Face folder that transformers loads without captune."""
        self.captioner.save(expand_home(folder))

    def push_to_hub(self, repo: str, *, private: bool = False) -> PushedRepo:
        """See `LoadedCaptioner.push_to_hub`."""
        with tempfile.TemporaryDirectory(prefix="captune-push-") as folder:
            self.save_pretrained(folder)
            saved = sorted(path for path in Path(folder).rglob("*") if path.is_file())
            files = [RepoFile(path.relative_to(folder).as_posix(), path) for path in saved]
            opened = open_repo(repo, private=private)
            push_files(opened, files, message="Push a model with captune")
        return opened


def load(
    model: str | Path, *, device: str = "auto", revision: str | None = None, precision: str = "auto"
) -> LoadedCaptioner:
    """Return a captioner from a folder or hub id.

    Args:
        model: Folder saved by captune or transformers, a run's folder, or a hub id.
        device: `auto` (the first available of CUDA, XPU, MPS and CPU) or a torch device name.
        revision: Hub branch, tag or commit; `None`: the newest.
        precision: `auto`: the fastest whose captions equal those of `fp32` for at least 98 of 100
            photographs; `fp32`: captions equal plain transformers'; `bf16` or `fp16`: faster if
            the hardware supports them.

    Raises:
        ModelError: The model does not exist, has no weights, or belongs to an unknown family.
        RecipeError: The device is not available, or does not support the precision.
    """
    if not isinstance(model, str | Path):
        raise ModelError(
            f"the model is of type {type(model).__name__}",
            where="MODEL",
            fix="give a folder, such as runs/NAME/model, or a hub id",
        )
    folder = find_model(str(model))
    if (Path(folder) / EXPORT_FILE).is_file():
        from captune.inference.exported.captioner import load_exported

        return load_exported(Path(folder), device=device, precision=precision)
    from captune.hardware import choose_hardware
    from captune.models import load_captioner

    hardware = choose_hardware(device, precision, section="")
    captioner = load_captioner(folder, revision=revision)
    captioner.move_to(hardware.device)
    captioner.eval_mode()
    return ImageCaptioner(captioner, hardware, is_exact_enough=precision == "auto")
