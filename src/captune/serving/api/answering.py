"""From a checked call to captions: download, queue, wait, and stop when the client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import Request

from captune.errors import ImageError, RecipeError
from captune.inference import DecodingOptions
from captune.recipe import GenerateConfig
from captune.records import Prediction
from captune.serving.api.calls import CaptionCall, ImageInput, UrlInput, invalid
from captune.serving.engine.engine import Ask, Engine, Room
from captune.serving.errors import ApiError, from_image_error, image_error
from captune.serving.settings import RequestLimits
from captune.serving.state import ServerState, state_of

_ALTERNATIVES_TOP_P = 0.9

Outcome = tuple[Prediction, ...] | ApiError
"""The captions of an image, one per config, or the error if it has none."""


async def caption_all(
    request: Request, call: CaptionCall, *, on_words: Callable[[str], None] | None = None
) -> tuple[Engine, list[Outcome]]:
    """Return the model of a call and the outcome of each image, in order.

    Args:
        request: The request.
        call: What it asks for.
        on_words: See `ImageJob.on_words`; for calls with one image.

    Raises:
        ApiError: The request fails as a whole: the model is unknown or not ready, the queue is
            full, a setting is invalid, the deadline has passed, or the client left.
    """
    state = state_of(request)
    engine = state.find_engine(call.model)
    facts = request.scope["captune"]
    facts |= {"model": engine.model.name, "images": len(call.images)}
    configs = _configs(engine, call, state.settings.limits)
    request.scope["captune.arrival"].release()
    with engine.reserve(len(call.images)) as room:
        captions = _caption(
            state, engine, room, images=call.images, configs=configs, on_words=on_words
        )
        work = asyncio.ensure_future(captions)
        outcomes = await _wait(request, work, seconds=state.settings.deadline)
    for outcome in outcomes:
        what = outcome.code if isinstance(outcome, ApiError) else "captioned"
        state.metrics.count_image(engine.model.name, what)
    errors = [outcome for outcome in outcomes if isinstance(outcome, ApiError)]
    if errors:
        facts |= {"failed": len(errors), "code": errors[0].code}
    return engine, outcomes


def _configs(
    engine: Engine, call: CaptionCall, limits: RequestLimits
) -> tuple[GenerateConfig, ...]:
    """Return the decoding settings of each caption of an image."""
    options = DecodingOptions(**call.generate)  # type: ignore[typeddict-item]
    try:
        first = engine.complete(options)
    except RecipeError as error:
        raise invalid("generate", error.what) from None
    call.check_settings(first, limits)
    return (first, *alternative_configs(first, call))


def alternative_configs(first: GenerateConfig, call: CaptionCall) -> tuple[GenerateConfig, ...]:
    """Return the decoding settings of the further captions of an image.

    They are those of the first caption, but sampled, each with its own seed: the next-best beams
    hardly differ from the best.

    Args:
        first: Complete settings of the first caption.
        call: The request.
    """
    sampled: dict[str, Any] = {}
    if not first.do_sample:
        sampled = {"do_sample": True, "num_beams": 1}
        if "top_p" not in call.generate:
            sampled["top_p"] = _ALTERNATIVES_TOP_P
    seeds = range(first.seed + 1, first.seed + call.num_captions)
    return tuple(first.model_copy(update={**sampled, "seed": seed}) for seed in seeds)


async def _caption(
    state: ServerState,
    engine: Engine,
    room: Room,
    *,
    images: Sequence[ImageInput | ImageError],
    configs: tuple[GenerateConfig, ...],
    on_words: Callable[[str], None] | None,
) -> list[Outcome]:
    held: list[int] = []
    try:
        loaded = await asyncio.gather(*(_load(state, image, held) for image in images))
        asks = [
            Ask(str(place), content, configs, on_words)
            for place, content in enumerate(loaded)
            if isinstance(content, bytes)
        ]
        found = iter(await engine.caption(asks, room))
    finally:
        state.budget.give_back(sum(held))
    return [_judge(next(found)) if isinstance(content, bytes) else content for content in loaded]


async def _load(
    state: ServerState, image: ImageInput | ImageError, held: list[int]
) -> bytes | ApiError:
    if isinstance(image, ImageError):
        return from_image_error(image)
    if isinstance(image, bytes):
        return image
    return await _download(state, image, held)


async def _download(state: ServerState, image: UrlInput, held: list[int]) -> bytes | ApiError:
    """Return a downloaded image; take its size from the budget and append it to `held`."""
    if state.fetcher is None:
        return image_error("url_forbidden")
    loop = asyncio.get_running_loop()
    try:
        content = await loop.run_in_executor(state.downloads, state.fetcher.fetch, image.url)
        state.budget.take(len(content))
    except ImageError as error:
        return from_image_error(error)
    except ApiError as error:
        return error
    held.append(len(content))
    return content


def _judge(outcome: Outcome) -> Outcome:
    if not isinstance(outcome, ApiError) and not outcome[0].caption.strip():
        return image_error("empty_caption")
    return outcome


async def _wait(request: Request, work: asyncio.Future[Any], *, seconds: float) -> Any:
    """Return the result of `work`; cancel it at the deadline or when the client leaves."""
    state = state_of(request)
    left = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({work, left}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        if left.done():
            state.metrics.count_disconnect()
            raise ApiError(499, "client_left", "the client closed the connection")
        raise ApiError(504, "deadline", f"no caption within {seconds:g} s", retry_after=5)
    finally:
        left.cancel()
        work.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue
