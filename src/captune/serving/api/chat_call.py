"""Read a request in the format of OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from captune.serving.api.calls import CaptionCall, UrlInput, decode_base64, invalid
from captune.serving.settings import RequestLimits

_MAX_MESSAGES = 256


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """Format of the answer to a chat.

    Attributes:
        is_streamed: Whether the answer is a stream of server-sent events.
        has_usage: Whether the stream ends with an event that counts tokens.
    """

    is_streamed: bool
    has_usage: bool


def read_chat_call(content: Any, limits: RequestLimits) -> tuple[CaptionCall, AnswerForm]:
    """Return the checked request and the format of its answer.

    Fields of OpenAI's API that have no meaning for a caption are ignored.

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
    form = AnswerForm(is_streamed, _flag(options, "include_usage"))
    url = _image_of(content.get("messages"))
    image = decode_base64(url, limits) if url[:5].lower() == "data:" else UrlInput(url)
    count = _number(content, "n", kind=int)
    call = CaptionCall(
        model or None, (image,), 1 if count is None else int(count), _settings(content)
    )
    call.check(limits)
    return call, form


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


def _settings(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the decoding settings; a temperature above 0 turns on sampling."""
    generate = content.get("generate", {})
    if not isinstance(generate, dict):
        raise invalid("generate", "an object")
    found = dict(generate)
    for name in ("max_tokens", "max_completion_tokens"):
        if (tokens := _number(content, name, kind=int)) is not None:
            found.setdefault("max_new_tokens", tokens)
    temperature = _number(content, "temperature", kind=float)
    if temperature is not None and temperature > 0:
        found |= {"do_sample": True, "temperature": temperature}
        for name, key, kind in (("top_p", "top_p", float), ("seed", "seed", int)):
            if (value := _number(content, name, kind=kind)) is not None:
                found[key] = value
    return found


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
