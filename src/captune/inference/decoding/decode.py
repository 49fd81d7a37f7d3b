"""Generate captions from vision states with torch.

Greedy, beam search and sampling with Hugging Face's settings and semantics, over packed beams.
Shapes: B images, S vision tokens, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from captune.hardware import Recorder, find_recorder, without_autocast
from captune.inference.decoding.backend import DecodingBackend
from captune.inference.decoding.replayed.search import ReplayedSearch
from captune.inference.decoding.running import RunningSearch
from captune.inference.decoding.task import Hypothesis, SearchTask, limit_new_tokens
from captune.models import Captioner, FastText, fast_text, suppressed_tokens
from captune.recipe import GenerateConfig
from captune.records import Prediction


@torch.inference_mode()
def generate(
    captioner: Captioner,
    vision_states: torch.Tensor,
    *,
    image_ids: Sequence[str],
    config: GenerateConfig,
    backend: DecodingBackend | None = None,
) -> list[Prediction]:
    """Return one caption per image, in order.

    Dropout is off during the call. Captions do not depend on the rest of the batch, except that
    matrix products of other shapes round differently.

    Args:
        captioner: The model, on the device of the vision states.
        vision_states: (B, S, D) from `Captioner.encode` or `Captioner.vision_states`.
        image_ids: B ids.
        config: Complete decoding settings. `max_new_tokens` is limited by the model's positions.
        backend: The text side; `None`: the fast form of the model's own, in the precision of
            autocast. For many batches, build it once: `text_backend(captioner)`.

    Raises:
        ModelError: The prompt leaves no room for a caption.
        ValueError: The numbers of ids and of images differ.
    """
    if len(image_ids) != len(vision_states):
        raise ValueError(f"{len(image_ids)} image ids for {len(vision_states)} images")
    if not image_ids:
        return []
    task = plan_search(captioner, image_ids, config=config)
    with eval_mode(captioner):
        text = text_backend(captioner) if backend is None else backend
        hypotheses = search(text, vision_states, task=task)
    return [
        to_caption(captioner, hypothesis, image_id=image_id, task=task)
        for image_id, hypothesis in zip(image_ids, hypotheses, strict=True)
    ]


def search(
    backend: DecodingBackend, vision_states: torch.Tensor, *, task: SearchTask
) -> list[Hypothesis]:
    """Return the generated tokens of B images, one hypothesis per image, in order.

    Args:
        backend: The text side, which chooses its own precision.
        vision_states: (B, S, D).
        task: Result of `plan_search`.
    """
    # Backends choose their own precision.
    with without_autocast(vision_states.device):
        running = start_search(backend, task, recorder=find_recorder(vision_states.device))
        found = dict(running.add(task.image_ids, vision_states))
        while running.num_running:
            running.drop_free_rows()
            found.update(running.step())
    return [found[number] for number in range(len(task.image_ids))]


def start_search(
    backend: DecodingBackend, task: SearchTask, *, recorder: Recorder | None
) -> RunningSearch | ReplayedSearch:
    """Return a search without images, in steps that the device replays if it can.

    Args:
        backend: The text side.
        task: Settings; its image ids do not matter.
        recorder: See `find_recorder`.
    """
    if recorder is None or not isinstance(backend, FastText):
        return RunningSearch(backend, task)
    return ReplayedSearch(backend, task, recorder=recorder)


def text_backend(captioner: Captioner) -> DecodingBackend:
    """Return the fast text side of a captioner, in the precision of the surrounding autocast."""
    device = captioner.device.type
    if torch.is_autocast_enabled(device):
        return fast_text(captioner, torch.get_autocast_dtype(device))
    return fast_text(captioner, captioner.model.dtype)


def plan_search(
    captioner: Captioner, image_ids: Sequence[str], *, config: GenerateConfig
) -> SearchTask:
    """Return the task of `search`, in the tokens of this model.

    Args:
        captioner: Provides the tokenizer, the template and the number of positions.
        image_ids: B ids.
        config: Complete decoding settings.

    Raises:
        ModelError: The prompt leaves no room for a caption.
    """
    prompt_ids = captioner.prefix_ids(config.prompt)
    return SearchTask(
        config=config,
        image_ids=tuple(image_ids),
        prompt_ids=prompt_ids,
        eos_token_id=captioner.eos_token_id,
        max_new_tokens=limit_new_tokens(config, prompt_ids, max_positions=captioner.max_positions),
        suppressed_ids=suppressed_tokens(captioner.model.generation_config),
    )


@contextmanager
def eval_mode(captioner: Captioner) -> Iterator[None]:
    """Turn dropout off inside the block; restore the modules' training mode afterwards."""
    training = [module for module in captioner.model.modules() if module.training]
    captioner.eval_mode()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def to_caption(
    captioner: Captioner, hypothesis: Hypothesis, *, image_id: str, task: SearchTask
) -> Prediction:
    """Return the caption of generated tokens."""
    return hypothesis.predict(
        image_id, task=task, write=lambda token_ids: to_text(captioner, token_ids, task=task)
    )


def to_text(captioner: Captioner, token_ids: Sequence[int], *, task: SearchTask) -> str:
    """Return the text of the prompt and of generated tokens, without the end token."""
    # The prefix is skipped by its length: GPT-2's start token may also be the end token, and the
    # words of a template are not part of a caption.
    return captioner.decode([*task.prompt_ids[len(captioner.prefix_ids()) :], *token_ids])
