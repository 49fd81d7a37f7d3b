"""Both sides of a captioner arranged for inference, as captioning and validation use them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from captune.hardware import find_recorder, without_autocast
from captune.models.blip import BlipCaptioner
from captune.models.captioner import Captioner, Stage
from captune.models.encoder_decoder import EncoderDecoderCaptioner
from captune.models.fast.bert import bert_head, bert_text, plain_head
from captune.models.fast.gpt2 import gpt2_text
from captune.models.fast.layers import TextSide
from captune.models.fast.linear import TextDtypes, UnknownModuleError, is_half_of_weights
from captune.models.fast.replayed_vision import ReplayedVision
from captune.models.fast.text import FEW_ROWS, FastText, LaterSide
from captune.models.fast.vision import FastVisionLayer, fast_stages
from captune.models.git import GitCaptioner
from captune.records import CaptionBatch, VisionInputs

_CHUNK = 4
"""Images per pass of the vision encoder on a CPU, so that activations stay in its cache."""


_PATIENCE_IN_BF16 = 8
"""Number of batches of one or two images decoded in bf16 before float16 weights are arranged, which
save a tenth of a second per image."""


class PlainText:
    """The text side as transformers computes it, for models that the fast form does not know."""

    def __init__(self, captioner: Captioner, dtype: torch.dtype) -> None:
        self._captioner = captioner
        self._dtype = dtype

    @property
    def mask_dtype(self) -> torch.dtype:
        """See `DecodingBackend.mask_dtype`."""
        return self._captioner.mask_dtype

    def start_decoding(self, vision_states: torch.Tensor) -> Any:
        """See `DecodingBackend.start_decoding`."""
        return self._captioner.start_decoding(vision_states)

    def hidden_states(
        self,
        context: Any,
        input_ids: torch.Tensor,
        *,
        position_ids: torch.Tensor,
        attention_mask: torch.Tensor,
    ) -> torch.Tensor:
        """See `DecodingBackend.hidden_states`."""
        with _autocast(self._captioner, self._dtype):
            return self._captioner.hidden_states(
                context, input_ids, position_ids=position_ids, attention_mask=attention_mask
            )

    def lm_head(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """See `DecodingBackend.lm_head`."""
        with _autocast(self._captioner, self._dtype):
            return self._captioner.lm_head(hidden_states)


def _autocast(captioner: Captioner, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Return autocast if `dtype` is half precision and not the model's, else no autocast."""
    if dtype in {captioner.model.dtype, torch.float32}:
        return without_autocast(captioner.device)
    return torch.autocast(captioner.device.type, dtype=dtype)


@dataclass(frozen=True, slots=True)
class InferenceForm:
    """A captioner arranged for passes without gradients, with its current weights.

    Attributes:
        captioner: The model.
        stages: Its vision stages for inference; `None`: use its own `encode`, which a subclass
            overrides.
        text: A `DecodingBackend`, for `captune.inference.generate`.
        vision_dtype: Precision of the vision side.
        text_dtype: Precision of the text side.
        weights: Address and version of each parameter when the form was built.
        replayed: The stages, replayed for few images on devices that can; `None`: not here.
    """

    captioner: Captioner
    stages: tuple[Stage, ...] | None
    text: FastText | PlainText
    vision_dtype: torch.dtype
    text_dtype: torch.dtype
    weights: tuple[tuple[int, int], ...]
    replayed: ReplayedVision | None = None

    def fits(self, captioner: Captioner, *, vision: torch.dtype, text: torch.dtype) -> bool:
        """Return whether this form is of a captioner with unchanged weights and precisions."""
        is_same = captioner is self.captioner
        precisions = (self.vision_dtype, self.text_dtype)
        return is_same and precisions == (vision, text) and self.weights == _weights(captioner)

    @torch.inference_mode()
    def encode(self, inputs: VisionInputs | torch.Tensor) -> torch.Tensor:
        """Return the vision states (B, S, D) of inputs; see `Captioner.encode_frozen`."""
        if isinstance(inputs, torch.Tensor):
            inputs = VisionInputs.of_pixels(inputs)
        device = self.captioner.device.type
        if self.stages is None:
            with _autocast(self.captioner, self.vision_dtype):
                return self.captioner.encode(inputs)
        at_once = _CHUNK if device == "cpu" else max(1, len(inputs))
        with without_autocast(self.captioner.device):
            if self.replayed is not None:
                return self.replayed(self.captioner.stage_input(inputs))
            parts = [
                _through(
                    self.stages, self.captioner.stage_input(inputs.rows(slice(at, at + at_once)))
                )
                for at in range(0, len(inputs), at_once)
            ]
        return torch.cat(parts)

    def settle(self) -> None:
        """Decode with the same weights from now on: see `FastText.settle`."""
        if isinstance(self.text, FastText):
            self.text.settle()

    @torch.inference_mode()
    def vision_states(self, batch: CaptionBatch) -> torch.Tensor:
        """Return the vision states of a batch; see `Captioner.vision_states`."""
        if batch.vision_inputs is not None:
            return self.encode(batch.vision_inputs)
        if self.stages is None or batch.vision_features is None:
            with _autocast(self.captioner, self.vision_dtype):
                return self.captioner.vision_states(batch)
        features = batch.vision_features.to(self.captioner.model.dtype)
        with without_autocast(features.device):
            return _through(self.stages[self.captioner.frozen_stages :], features)


def _through(stages: Sequence[Stage], states: torch.Tensor) -> torch.Tensor:
    for stage in stages:
        states = stage(states)
    return states


def inference_form(
    captioner: Captioner, *, vision: torch.dtype, text: torch.dtype
) -> InferenceForm:
    """Return a captioner in eval mode, arranged for inference.

    Weights are views where the precision is the model's own, else copies: rebuild the form after
    the weights have changed.

    Args:
        captioner: The model, on its device.
        vision: Precision of the vision side.
        text: Precision of the text side; float16 on a CPU means weights in float16 that multiply
            float32, with the image's keys in the precision of the vision side.
    """
    is_known = _inherits(captioner, Captioner, "encode", "encode_frozen", "encode_trained")
    stages = tuple(fast_stages(captioner.vision_stages(), vision)) if is_known else None
    weights = _weights(captioner)
    backend = fast_text(captioner, text, image=vision, may_wait=True)
    recorder = find_recorder(captioner.device)
    replayed = None
    if recorder is not None and stages is not None and _is_transformer(stages):
        replayed = ReplayedVision(partial(_through, stages), recorder)
    return InferenceForm(captioner, stages, backend, vision, text, weights, replayed)


def _is_transformer(stages: Sequence[Stage]) -> bool:
    """Return whether the layers are those of this package, which never wait for the device."""
    return any(
        isinstance(module, FastVisionLayer) for stage in stages for module in stage.modules()
    )


def _weights(captioner: Captioner) -> tuple[tuple[int, int], ...]:
    """Return the address of each parameter and the number of its changes in place."""
    parameters = captioner.model.parameters()
    return tuple((p.data_ptr(), 0 if p.is_inference() else p._version) for p in parameters)


def exact_enough(captioner: Captioner, dtype: torch.dtype) -> tuple[torch.dtype, torch.dtype]:
    """Return the fastest precisions of vision and text whose captions rarely differ from float32's.

    The bar is 98 % equal captions of 500 photographs. With the layers of this package, bf16 passes
    on the vision side (99.8 %) and in GPT-2's decoder (98.4 to 99.6 %), but not in BERT's, whose
    norms after each block propagate rounding errors (95.8 to 97.8 % with a BLIP trained on
    Flickr8k). BERT's decoder passes on CPUs with float16 weights that multiply float32. Autocast
    over transformers' own layers does not pass (81 %), so a side that this package does not know
    stays in float32. Figures: docs/log.md.

    Args:
        captioner: The model, on its device.
        dtype: Half precision in which the device is fast, or float32.
    """
    own: torch.dtype = captioner.model.dtype
    form = inference_form(captioner, vision=own, text=own)
    knows_vision = _is_transformer(form.stages or ())
    return (dtype if knows_vision else own, _exact_enough_text(form, dtype))


def _exact_enough_text(form: InferenceForm, dtype: torch.dtype) -> torch.dtype:
    if not isinstance(form.text, FastText):
        return form.text_dtype
    if form.text.norm_first and dtype != torch.float32:
        return dtype
    has_half_weights = (form.captioner.device.type, form.text_dtype) == ("cpu", torch.float32)
    return torch.float16 if has_half_weights else form.text_dtype


def fast_text(
    captioner: Captioner,
    dtype: torch.dtype,
    *,
    image: torch.dtype | None = None,
    may_wait: bool = False,
) -> FastText | PlainText:
    """Return the text side for decoding in the given precision; fast if all its parts are known.

    Args:
        captioner: The model, on its device, in eval mode.
        dtype: Precision of products and caches; float16 on a CPU means float16 weights.
        image: Precision of the image's keys if `dtype` is float16 on a CPU; `None`: the model's
            own.
        may_wait: Whether to arrange float16 weights only once that pays, because arranging 100
            million takes a second: the first images are decoded with the model's own weights.
            Batches of one or two images in bf16 also switch to them later.
    """
    own: torch.dtype = captioner.model.dtype
    has_half_weights = is_half_of_weights(captioner.device, dtype)
    dtypes = TextDtypes(dtype, (image or own) if has_half_weights else dtype)
    waits = may_wait and has_half_weights
    try:
        side = _text_side(captioner, TextDtypes(own, own) if waits else dtypes)
    except UnknownModuleError:
        return PlainText(captioner, own if has_half_weights else dtype)
    later = None
    if waits:
        later = LaterSide(lambda: _text_side(captioner, dtypes), sys.maxsize, patience=1)
    elif may_wait and (captioner.device.type, dtype) == ("cpu", torch.bfloat16):
        few = TextDtypes(torch.float16, dtype)
        later = LaterSide(lambda: _text_side(captioner, few), FEW_ROWS, _PATIENCE_IN_BF16)
    return FastText(side, later)


def _text_side(captioner: Captioner, dtypes: TextDtypes) -> TextSide:
    family = next((f for f in _TEXT_SIDES if _inherits(captioner, f, *_TEXT_METHODS)), None)
    if family is None:
        raise UnknownModuleError(type(captioner).__name__)
    return _TEXT_SIDES[family](captioner.model, dtypes)


_TEXT_METHODS = ("start_decoding", "hidden_states", "lm_head")


def _inherits(captioner: Captioner, base: Any, *names: str) -> bool:
    """Return whether a captioner's methods are those of `base`: a subclass may override them."""
    return all(getattr(type(captioner), name) is getattr(base, name) for name in names)


def _blip(model: Any, dtypes: TextDtypes) -> TextSide:
    return _with_bert(model.text_decoder, dtypes)


def _git(model: Any, dtypes: TextDtypes) -> TextSide:
    _check_plain(model.git.encoder, model.git.embeddings, model.output)
    return bert_text(model.git, plain_head(model.output, dtypes.tokens), dtypes=dtypes)


def _encoder_decoder(model: Any, dtypes: TextDtypes) -> TextSide:
    decoder = model.decoder
    if decoder.config.model_type == "bert":
        return _with_bert(decoder, dtypes)
    _check_plain(decoder)
    return gpt2_text(decoder, dtypes)


def _with_bert(decoder: Any, dtypes: TextDtypes) -> TextSide:
    _check_plain(decoder)
    head = bert_head(decoder.cls.predictions, dtypes.tokens)
    return bert_text(decoder.bert, head, dtypes=dtypes)


def _check_plain(*modules: nn.Module) -> None:
    """Reject modules with hooks or a replaced `forward`, which do more than their class.

    Raises:
        UnknownModuleError: A module has one.
    """
    for module in modules:
        for part in module.modules():
            if part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part):
                raise UnknownModuleError(f"{type(part).__name__} with hooks")


_TEXT_SIDES: dict[type[Captioner], Callable[[Any, TextDtypes], TextSide]] = {
    BlipCaptioner: _blip,
    GitCaptioner: _git,
    EncoderDecoderCaptioner: _encoder_decoder,
}
