"""The model whose captioning is measured: loaded as a user's run loads it, by the same backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from captune.benchmark.subjects import has_random_text, load_subject
from captune.errors import RecipeError
from captune.export import choose_model
from captune.hardware import Hardware, choose_hardware
from captune.hub import find_model
from captune.inference import ImageCaptioner, LoadedCaptioner, RunRequest, find_exported, load
from captune.models import SIZES, Captioner, load_captioner
from captune.progress import Say
from captune.records import CaptionRecord


@dataclass(frozen=True, slots=True)
class CaptionSubject:
    """A model ready to caption, and what its work is counted with.

    Attributes:
        model: Loaded as `captune caption` loads it.
        hardware: Device and precision whose limit is measured.
        torch_form: Returns the model in torch, if there is one, for counting operations.
    """

    model: LoadedCaptioner
    hardware: Hardware
    torch_form: Callable[[], Captioner | None]

    def has_random_text(self) -> bool:
        """Return whether the text side was never trained; `False` for a model without torch."""
        captioner = self.torch_form()
        return captioner is not None and has_random_text(captioner)


def load_caption_subject(
    request: RunRequest, records: Sequence[CaptionRecord], *, say: Say
) -> CaptionSubject:
    """Return the model of a request, run by the backend that a user's run would have.

    Args:
        request: Its model may be a named size, which gets random weights.
        records: Images with captions, for the tokenizer of a named size.
        say: Called with each progress message.

    Raises:
        MissingExtraError: The backend was asked for by name and is not installed.
        ModelError: The model does not exist or cannot be used.
        RecipeError: The device or precision is not available, or the backend needs a folder.
    """
    # Checked before anything is loaded; an exported model reports what it does not support.
    hardware = choose_hardware(request.device, request.precision, section="--")
    if request.model in SIZES and not Path(request.model).exists():
        return _random_subject(request, records, hardware=hardware)
    model = load(choose_model(request, say=say), device=request.device, precision=request.precision)
    if isinstance(model, ImageCaptioner):
        captioner = model.captioner
        return CaptionSubject(model, model.hardware, lambda: captioner)
    hardware = choose_hardware("cpu", request.precision, section="--")
    if find_exported(request.model) is not None:
        return CaptionSubject(model, hardware, lambda: None)
    return CaptionSubject(model, hardware, lambda: _load_plain(request))


def _random_subject(
    request: RunRequest, records: Sequence[CaptionRecord], *, hardware: Hardware
) -> CaptionSubject:
    if request.backend not in ("auto", "torch"):
        raise RecipeError(
            f"{request.backend} runs a model's folder, and {request.model} is a named size",
            where="--backend",
            fix="give the folder of a model, or use --backend torch",
        )
    captioner = load_subject(request.model, records)
    captioner.move_to(hardware.device)
    captioner.eval_mode()
    model = ImageCaptioner(captioner, hardware, is_exact_enough=request.precision == "auto")
    return CaptionSubject(model, hardware, lambda: captioner)


def _load_plain(request: RunRequest) -> Captioner:
    captioner = load_captioner(find_model(request.model))
    captioner.eval_mode()
    return captioner
