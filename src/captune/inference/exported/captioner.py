"""An exported model as `captune.load` returns it: images by path, bytes, array or PIL image."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from captune.data import DecodeMode, ImageDecoder
from captune.errors import ImageError, ModelError, RecipeError
from captune.inference.exported.folder import check_sizes, read_exported
from captune.inference.exported.graphs import compile_graphs, require_runtime
from captune.inference.exported.image_levels import Pixels
from captune.inference.exported.precisions import SidePrecisions, choose_precisions
from captune.inference.exported.runtime import ExportedPass, ExportedRuntime
from captune.inference.exported.text_tokens import TextTokens
from captune.inference.loaded_captioner import LoadedCaptioner
from captune.inference.prepare import AnyImage, ImageMarks, OnFailure, prepare_ahead
from captune.recipe import GenerateConfig, fill_decoding
from captune.records import Prediction

if TYPE_CHECKING:
    from captune.hub import PushedRepo

_BATCH = 16


@dataclass(frozen=True, slots=True)
class ExportedCaptioner(LoadedCaptioner):
    """An exported model ready to caption.

    Attributes:
        runtime: The loaded graphs and tokenizer.
    """

    runtime: ExportedRuntime

    @property
    def model(self) -> NoReturn:
        """Raise: there is no transformers model."""
        raise self._refuse("a transformers model")

    @property
    def processor(self) -> NoReturn:
        """Raise: there is no transformers processor."""
        raise self._refuse("a transformers processor")

    def describe(self) -> str:
        """Return runtime, device and precision."""
        return self.runtime.graphs.about

    def complete(self, decoding: GenerateConfig) -> GenerateConfig:
        """See `LoadedCaptioner.complete`."""
        return fill_decoding(decoding, self.runtime.model.decoding)

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
        size, waiting = max(1, batch_size or _BATCH), list[tuple[str, Pixels]]()
        run = self.runtime.open()
        marks = ImageMarks()
        prepared = prepare_ahead(run.prepare, images, decode=decode, batch_size=size, marks=marks)
        with closing(prepared):
            for image_id, pixels in prepared:
                if isinstance(pixels, ImageError):
                    if on_failure is None:
                        raise pixels
                    on_failure(image_id, pixels)
                    continue
                waiting.append((image_id, pixels))
                if len(waiting) == size:
                    yield from marks.flag(one for (one,) in run.caption(waiting, [config]))
                    waiting.clear()
            if waiting:
                yield from marks.flag(one for (one,) in run.caption(waiting, [config]))

    def open_batches(self) -> ExportedPass:
        """See `LoadedCaptioner.open_batches`."""
        return self.runtime.open()

    def save_pretrained(self, folder: str | Path) -> NoReturn:  # noqa: ARG002
        """Raise: there are no weights to save."""
        raise self._refuse("weights to save")

    def push_to_hub(self, repo: str, *, private: bool = False) -> PushedRepo:  # noqa: ARG002
        """Raise: there are no weights to push."""
        raise self._refuse("weights to push")

    def _refuse(self, what: str) -> ModelError:
        return ModelError(
            f"an exported model has no {what}",
            where=str(self.runtime.model.folder),
            fix="load the model that it was exported from: `source` in its export.json",
        )


def load_exported(
    folder: Path, *, device: str, precision: str | SidePrecisions
) -> ExportedCaptioner:
    """Load an exported model.

    Args:
        folder: Folder with export.json.
        device: `auto` or `cpu`.
        precision: `fp32`; `bf16`: faster on CPUs that compute in it; `auto`: bf16 for the sides
            where the export found that it changes few captions; or the precisions of both sides.

    Raises:
        MissingExtraError: The runtime is not installed.
        ModelError: The folder is damaged.
        RecipeError: The device or precision is not supported.
    """
    if device not in ("auto", "cpu"):
        raise RecipeError(
            f"device {device!r} is not available for an exported model",
            where="device",
            fix="use auto or cpu, or caption with the model that it was exported from",
        )
    model = read_exported(folder)
    require_runtime(model.format, where=str(folder))
    if isinstance(precision, str):
        precision = choose_precisions(precision, model)
    graphs = compile_graphs(model, precisions=precision)
    sizes = graphs.sizes
    check_sizes(model, pixels=sizes.pixels, vocabulary=sizes.vocabulary, width=sizes.width)
    words = TextTokens(folder, cleans_up=model.cleans_up, vocabulary=sizes.vocabulary)
    return ExportedCaptioner(ExportedRuntime(model, graphs, words))
