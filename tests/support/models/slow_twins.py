"""Slow, obvious twins: plain transformers, one caption at a time, nothing packed or cached."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from captune.models import Captioner
from captune.recipe import GenerateConfig

_NOT_TRANSFORMERS = {"seed", "prompt", "temperature", "top_k", "top_p"}


def plain_logits(
    captioner: Captioner, pixel_values: torch.Tensor, input_ids: torch.Tensor
) -> torch.Tensor:
    """Logits (1, L, V) of one caption (1, L) for one image (1, 3, H, W), by transformers alone."""
    model = captioner.model
    if captioner.family == "blip":
        states = model.vision_model(pixel_values).last_hidden_state
        return model.text_decoder(input_ids=input_ids, encoder_hidden_states=states).logits
    if captioner.family == "git":
        output = model(input_ids=input_ids, pixel_values=pixel_values)
        return output.logits[:, -input_ids.shape[1] :]
    return model(pixel_values=pixel_values, decoder_input_ids=input_ids).logits


def loss_one_caption_per_row(
    captioner: Captioner,
    rows: Sequence[Sequence[str]],
    *,
    pixel_values: torch.Tensor,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Summed cross-entropy, every caption with its own forward pass of the whole model."""
    prefix = captioner.prefix_ids()
    total = torch.zeros((), dtype=captioner.model.dtype)
    for row, pixels in zip(rows, pixel_values, strict=True):
        for caption in row:
            words = captioner.tokenizer(caption, add_special_tokens=False).input_ids
            ids = torch.tensor([[*prefix, *words, captioner.eos_token_id]])
            logits = plain_logits(captioner, pixels[None], ids)[0, len(prefix) - 1 : -1]
            total = total + functional.cross_entropy(
                logits,
                ids[0, len(prefix) :],
                reduction="sum",
                label_smoothing=label_smoothing,
            )
    return total


def gradients(captioner: Captioner, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    """Gradient of every parameter that learns."""
    captioner.model.zero_grad()
    loss.backward()
    return {
        name: parameter.grad.clone()
        for name, parameter in captioner.named_trainable()
        if parameter.grad is not None
    }


@torch.inference_mode()
def greedy_without_cache(
    captioner: Captioner, pixel_values: torch.Tensor, *, max_new_tokens: int
) -> list[int]:
    """Token ids of one image's greedy caption, without the start token."""
    ids = [captioner.bos_token_id]
    while len(ids) <= max_new_tokens and (len(ids) == 1 or ids[-1] != captioner.eos_token_id):
        logits = plain_logits(captioner, pixel_values, torch.tensor([ids]))
        ids.append(int(logits[0, -1].argmax()))
    return ids[1:]


def plain_generate(
    captioner: Captioner,
    pixel_values: torch.Tensor,
    config: GenerateConfig,
    *,
    prefix: Sequence[int] = (),
    **others: object,
) -> tuple[int, ...]:
    """Generated tokens of plain `model.generate` for one image, end token included.

    Args:
        captioner: The model.
        pixel_values: (1, 3, H, W).
        config: Decoding settings; its prompt is ignored.
        prefix: Start token and prompt; empty: the start token that transformers itself uses.
        others: Further settings of `generate`.
    """
    given = tuple(prefix) or (captioner.bos_token_id,)
    inputs = {}
    if prefix:
        ids = torch.tensor([given])
        name = "decoder_input_ids" if captioner.family == "encoder-decoder" else "input_ids"
        # BLIP drops the last token, which its processor puts there as an end.
        inputs[name] = torch.cat([ids, ids[:, :1]], 1) if captioner.family == "blip" else ids
    settings = {k: v for k, v in config.model_dump().items() if k not in _NOT_TRANSFORMERS}
    output = captioner.model.generate(pixel_values=pixel_values, **inputs, **settings, **others)
    tokens = output[0].tolist()
    assert tuple(tokens[: len(given)]) == given
    new = tokens[len(given) :]
    if captioner.eos_token_id in new:
        new = new[: new.index(captioner.eos_token_id) + 1]
    return tuple(new)
