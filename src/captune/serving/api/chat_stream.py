"""A chat's answer as server-sent events, word by word as the model decodes them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from captune.records import Prediction
from captune.serving.api.answering import caption_all
from captune.serving.api.calls import CaptionCall
from captune.serving.api.chat_call import AnswerForm
from captune.serving.errors import ApiError
from captune.serving.state import state_of

# Proxies would keep the events until the answer ends; nginx follows the second header.
_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
_CHUNK = "chat.completion.chunk"


async def stream_chat(
    request: Request, call: CaptionCall, *, head: dict[str, Any], form: AnswerForm
) -> Response:
    """Return a stream of a caption's words, once the first are known.

    Words are sent as they are decoded, or all at the end if the decoder revises them (beam search),
    captions images of a batch together (exported models), there are several captions, or texts at
    which they end.

    Args:
        request: The request.
        call: A call with one image.
        head: Fields of every event.
        form: Format of the answer.

    Raises:
        ApiError: There is no caption, and no words have been sent.
    """
    growing = _GrowingCaption(request, head, form)
    growing.start(call)
    try:
        first = await growing.next_text()
    except asyncio.CancelledError:
        growing.stop()
        raise
    if first is None:
        growing.result()
    return StreamingResponse(
        growing.events(first), headers=_HEADERS, media_type="text/event-stream"
    )


@dataclass(slots=True)
class _GrowingCaption:
    """The caption of a request, as far as it is known.

    Attributes:
        request: The request.
        head: Fields of every event.
        form: Format of the answer.
    """

    request: Request
    head: dict[str, Any]
    form: AnswerForm
    _texts: asyncio.Queue[str | None] = field(default_factory=asyncio.Queue)
    _work: asyncio.Task[tuple[Prediction, ...]] | None = None

    def start(self, call: CaptionCall) -> None:
        """Start captioning."""
        self._work = asyncio.ensure_future(self._caption(call))
        self._work.add_done_callback(self._end)

    async def next_text(self) -> str | None:
        """Return the beginning of the caption, longer than before; `None`: it has ended."""
        return await self._texts.get()

    def result(self) -> tuple[Prediction, ...]:
        """Return the captions.

        Raises:
            ApiError: There are none.
        """
        assert self._work is not None
        return self._work.result()

    def stop(self) -> None:
        """Stop waiting for the caption if it has not ended, because the client has left."""
        if self._work is not None and not self._work.done():
            self._work.cancel()
            state_of(self.request).metrics.count_disconnect()

    async def events(self, text: str | None) -> AsyncIterator[str]:
        """Yield the server-sent events.

        Args:
            text: First result of `next_text`.
        """
        sent = ""
        try:
            yield self._event(0, {"role": "assistant", "content": ""})
            while text is not None:
                if text.startswith(sent) and text != sent:
                    yield self._event(0, {"content": text[len(sent) :]})
                    sent = text
                text = await self.next_text()
            try:
                captions = self.result()
                for event in self._last_events(captions, sent):
                    yield event
            except ApiError as error:
                self.request.scope["captune"]["code"] = error.code
                fault = {"code": error.code, "message": error.message, "type": "server_error"}
                yield _data({"error": fault})
        finally:
            self.stop()

    async def _caption(self, call: CaptionCall) -> tuple[Prediction, ...]:
        words = None if self.form.stops else self._texts.put_nowait
        _, (outcome,) = await caption_all(self.request, call, on_words=words)
        if isinstance(outcome, ApiError):
            raise outcome
        return tuple(self.form.cut(one) for one in outcome)

    def _end(self, work: asyncio.Task[Any]) -> None:
        # An error that nobody waits for any more is not logged by asyncio once it has been read.
        if not work.cancelled():
            work.exception()
        self._texts.put_nowait(None)

    def _last_events(self, captions: Sequence[Prediction], sent: str) -> Iterator[str]:
        """Yield what follows the words that have been sent of the first caption."""
        for index, one in enumerate(captions):
            if index:
                yield self._event(index, {"role": "assistant", "content": ""})
            known = "" if index else sent
            if not one.caption.startswith(known):
                # The image was captioned again after a failure, and sums were rounded differently.
                raise ApiError(500, "model_error", "the caption changed while it was sent")
            for place, word in enumerate(one.caption[len(known) :].split(" ")):
                if place or word:
                    yield self._event(index, {"content": f" {word}" if place else word})
            yield self._event(index, {}, reason=finish_reason(one))
        if self.form.has_usage:
            usage = count_tokens(captions)
            yield _data({**self.head, "object": _CHUNK, "choices": [], "usage": usage})
        yield "data: [DONE]\n\n"

    def _event(self, index: int, delta: dict[str, str], *, reason: str | None = None) -> str:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
        return _data({**self.head, "object": _CHUNK, "choices": [choice]})


def _data(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content)}\n\n"


def count_tokens(captions: Sequence[Prediction]) -> dict[str, int]:
    """Return OpenAI's `usage`."""
    tokens = sum(one.num_tokens for one in captions)
    return {"prompt_tokens": 0, "completion_tokens": tokens, "total_tokens": tokens}


def finish_reason(caption: Prediction) -> str:
    """Return OpenAI's reason for the end of a caption."""
    return "stop" if caption.finish_reason == "eos" else "length"
