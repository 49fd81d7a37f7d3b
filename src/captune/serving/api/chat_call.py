"""Read a request in the format of OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from captune.records import Prediction
from captune.serving.api.calls import CaptionCall, UrlInput, decode_base64, invalid
from captune.serving.settings import RequestLimits

_MAX_MESSAGES = 256
_MAX_STOPS = 4


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """Format of the answer to a chat.

    Attributes:
        is_streamed: Whether the answer is a stream of server-sent events.
        has_usage: Whether the stream ends with an event that counts tokens.
        stops: Texts at which captions end; they are not part of them.
    """

    is_streamed: bool
    has_usage: bool
    stops: tuple[str, ...]

    def cut(self, caption: Prediction) -> Prediction:
        """Return a caption up to the first text at which it should end."""
        ends = [caption.caption.find(stop) for stop in self.stops if stop in caption.caption]
        if not ends:
            return caption
        return replace(caption, caption=caption.caption[: min(ends)], finish_reason="eos")


def read_chat_call(content: Any, limits: RequestLimits) -> tuple[CaptionCall, AnswerForm]:
    """Return the checked request and the format of its answer.

    Fields of OpenAI's API that have no meaning for a caption are ignored, but not those whose
    client would take the answer for something else: JSON, or a call of a tool.

    Args:
        content: The body's JSON value.
        limits: The server's limits.

    Raises:
        ApiError: 400: the image is not valid base64; 422: a field has a wrong type or value.
    """
    if not isinstance(content, dict):
        raise invalid("body", "an object")
    model = content.get("model")
    if model is not None and not isinstance(model, str):
        raise invalid("model", "a string")
    is_streamed = _flag(content, "stream")
    options = content.get("stream_options") or {}
    if not isinstance(options, dict):
        raise invalid("stream_options", "an object")
    _refuse_other_answers(content)
    stops = _read_stops(content.get("stop"))
    form = AnswerForm(is_streamed, _flag(options, "include_usage"), stops)
    url = _image_of(content.get("messages"))
    image = decode_base64(url, limits) if url[:5].lower() == "data:" else UrlInput(url)
    call = CaptionCall(
        model or None,
        (image,),
        _count(content, "n", limits.captions) or 1,
        _settings(content, limits),
    )
    call.check(limits)
    return call, form


def _refuse_other_answers(content: Mapping[str, Any]) -> None:
    wanted = content.get("response_format")
    if wanted is not None and (not isinstance(wanted, dict) or wanted.get("type") != "text"):
        raise invalid("response_format", 'captions are plain text: only {"type": "text"}')
    if content.get("tool_choice") not in (None, "none", "auto"):
        raise invalid("tool_choice", 'captioners call no tools: "none" or "auto"')


def _read_stops(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value or []
    if not isinstance(stops, list) or len(stops) > _MAX_STOPS:
        raise invalid("stop", f"a text, or a list of at most {_MAX_STOPS}")
    if not all(isinstance(stop, str) and stop for stop in stops):
        raise invalid("stop", "texts that are not empty")
    return tuple(stops)


def _image_of(messages: Any) -> str:
    """Return the URL of the only image in the last user message."""
    if not isinstance(messages, list) or len(messages) > _MAX_MESSAGES:
        raise invalid("messages", f"a list of at most {_MAX_MESSAGES} messages")
    users = [one for one in messages if isinstance(one, dict) and one.get("role") == "user"]
    parts = users[-1].get("content") if users else None
    urls = [_url_of(part) for part in parts] if isinstance(parts, list) else []
    found = [url for url in urls if url is not None]
    if len(found) != 1:
        raise invalid(
            "messages",
            'exactly one part {"type": "image_url", "image_url": {"url": ...}} in the last user'
            " message",
        )
    return found[0]


def _url_of(part: Any) -> str | None:
    if not isinstance(part, dict) or part.get("type") != "image_url":
        return None
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    return url if isinstance(url, str) else ""


def _settings(content: Mapping[str, Any], limits: RequestLimits) -> dict[str, Any]:
    """Return the decoding settings; a temperature above 0 turns sampling on, and 0 turns it off."""
    generate = content.get("generate")
    if not isinstance(generate, dict | None):
        raise invalid("generate", "an object")
    found = dict(generate or {})
    for name in ("max_tokens", "max_completion_tokens"):
        if (tokens := _count(content, name, limits.new_tokens)) is not None:
            found.setdefault("max_new_tokens", tokens)
    temperature = _number(content, "temperature", kind=float)
    if temperature is not None and temperature < 0:
        raise invalid("temperature", "0 or more")
    if temperature is not None and temperature > 0:
        found |= {"do_sample": True, "temperature": temperature}
        for name, key, kind in (("top_p", "top_p", float), ("seed", "seed", int)):
            if (value := _number(content, name, kind=kind)) is not None:
                found[key] = value
    elif temperature is not None:
        found.setdefault("do_sample", False)
    return found


def _count(content: Mapping[str, Any], name: str, most: int) -> int | None:
    value = _number(content, name, kind=int)
    if value is not None and not 1 <= value <= most:
        raise invalid(name, f"1 to {most}")
    return None if value is None else int(value)


def _flag(content: Mapping[str, Any], name: str) -> bool:
    value = content.get(name) or False
    if not isinstance(value, bool):
        raise invalid(name, "true or false")
    return value


def _number(content: Mapping[str, Any], name: str, *, kind: type) -> float | None:
    value = content.get(name)
    if value is None:
        return None
    allowed = (int,) if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise invalid(name, "a whole number" if kind is int else "a number")
    number: float = value
    return number
