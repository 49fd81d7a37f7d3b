"""`POST /v1/caption`: read a request from a multipart, JSON or raw body."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from captune.errors import ImageError
from captune.serving.api.calls import (
    CaptionCall,
    ImageInput,
    UrlInput,
    decode_base64,
    invalid,
    read_image,
)
from captune.serving.api.json_body import read_json_body
from captune.serving.api.strict_json import parse_strict_json
from captune.serving.errors import ApiError
from captune.serving.settings import RequestLimits

_SETTINGS = ("model", "num_captions", "generate")
_KEYS = ("images", *_SETTINGS)
_RAW = "application/octet-stream"
_MAX_FIELDS = 8
_MAX_FIELD_BYTES = 65_536


async def read_caption_call(request: Request, limits: RequestLimits) -> CaptionCall:
    """Return the checked call of a request.

    Raises:
        ApiError: 400: malformed JSON, form or base64, or a request without images; 408, 413 or
            429: see `LimitedBody`; 413: too many images, or a field that is too large; 415: an
            unsupported `Content-Type`; 422: a value that is not allowed.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    query = _read_query(request)
    if kind == "application/json":
        call = await read_json_body(
            request, lambda content: _from_json(content, limits, query=query)
        )
    elif kind == "multipart/form-data":
        call = await _from_form(request, limits, query=query)
    elif kind.startswith("image/") or kind == _RAW:
        call = _call(query, {}, images=[read_image(await request.body(), limits)])
    else:
        raise ApiError(
            415,
            "body_unsupported",
            "send application/json, multipart/form-data, image/* or application/octet-stream",
        )
    call.check(limits)
    return call


def _read_query(request: Request) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in found or name not in _SETTINGS:
            raise invalid("query", f"at most one of each: {', '.join(_SETTINGS)}")
        found[name] = value
    return found


def _from_json(content: Any, limits: RequestLimits, *, query: Mapping[str, str]) -> CaptionCall:
    if not isinstance(content, dict):
        raise invalid("body", "an object")
    for key in content:
        if key not in _KEYS:
            raise invalid("body", f"an object with the keys {', '.join(_KEYS)}")
    images = content.get("images")
    if not isinstance(images, list):
        raise invalid("images", 'a list of {"data": base64} or {"url": URL}')
    if len(images) > limits.images:
        raise ApiError(413, "too_many_images", f"a request may have at most {limits.images} images")
    found = [_one_image(image, place, limits) for place, image in enumerate(images)]
    return _call(query, content, images=found)


def _one_image(image: Any, place: int, limits: RequestLimits) -> ImageInput | ImageError:
    if isinstance(image, dict) and len(image) == 1:
        (key,) = image
        value = image[key]
        if isinstance(value, str) and key == "url":
            return UrlInput(value)
        if isinstance(value, str) and key == "data":
            return decode_base64(value, limits)
    raise invalid(f"images[{place}]", '{"data": base64} or {"url": URL}')


async def _from_form(
    request: Request, limits: RequestLimits, *, query: Mapping[str, str]
) -> CaptionCall:
    _, options = parse_options_header(request.headers["content-type"])
    if options.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8"):
        # Some character sets decode to lone surrogates.
        raise ApiError(400, "invalid_form", "a form must be in UTF-8")
    try:
        async with aclosing(request.stream()) as stream:
            parser = _FormInMemory(
                request.headers,
                stream,
                max_files=limits.images,
                max_fields=_MAX_FIELDS,
                max_part_size=_MAX_FIELD_BYTES,
            )
            form = await parser.parse()
            if not parser.has_ended:
                await form.close()
                raise MultiPartException("it ends before its last boundary")
    except MultiPartException as error:
        text = error.message
        status = 413 if text.startswith("Too many") or "exceeded" in text else 400
        raise ApiError(status, "invalid_form", f"the form cannot be read: {text[:200]}") from None
    files, fields = list[bytes | ImageError](), dict[str, str]()
    try:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                files.append(read_image(await value.read(), limits))
            elif name in fields or name not in _SETTINGS:
                allowed = "images as files (with a filename), and at most one of each"
                raise invalid("form", f"{allowed}: {', '.join(_SETTINGS)}")
            else:
                fields[name] = value
    finally:
        await form.close()
    return _call(query, fields, images=files)


class _FormInMemory(MultiPartParser):
    """Keeps files of all sizes in memory, whose limits the body has passed.

    Files on disk would fail where the disk is full or, in a container, read-only, and images would
    be left on it if the server is killed.

    Attributes:
        has_ended: Whether the last boundary has arrived. Without it, the last images may be
            missing, and the results would be fewer than the images that the client sent.
    """

    spool_max_size = 0
    has_ended = False

    def on_end(self) -> None:
        """Note the last boundary."""
        self.has_ended = True


def _call(query: Mapping[str, str], body: Mapping[str, Any], *, images: list[Any]) -> CaptionCall:
    """Return the call with these images; query and body hold the settings, or their JSON text."""
    for name in query.keys() & body.keys():
        raise invalid(name, "once, in the query or in the body")
    values = {**query, **body}
    model = values.get("model")
    if model is not None and not isinstance(model, str):
        raise invalid("model", "a string")
    generate = values.get("generate")
    if isinstance(generate, str):
        generate = parse_strict_json(generate.encode())
    if generate is None:
        generate = {}
    if not isinstance(generate, dict):
        raise invalid("generate", "an object")
    return CaptionCall(model or None, tuple(images), _whole(values.get("num_captions")), generate)


def _whole(value: Any) -> int:
    if value is None:
        return 1
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 9:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid("num_captions", "a whole number")
    return value
