"""A checked request for captions, whatever format it arrived in."""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from captune.errors import ImageError
from captune.recipe import GenerateConfig
from captune.serving.errors import ApiError
from captune.serving.settings import RequestLimits

_MAX_CHARACTERS = 300
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class UrlInput:
    """An image that the server downloads."""

    url: str


ImageInput = bytes | UrlInput


@dataclass(frozen=True, slots=True)
class CaptionCall:
    """A request for captions.

    Attributes:
        model: Name of a model; `None`: the default.
        images: Images in order, or the error of an image that cannot be used.
        num_captions: Captions per image.
        generate: Fields of `GenerateConfig` that the request sets.
    """

    model: str | None
    images: tuple[ImageInput | ImageError, ...]
    num_captions: int
    generate: Mapping[str, Any]

    def check(self, limits: RequestLimits) -> None:
        """Check the numbers of images and captions against the server's limits.

        Raises:
            ApiError: 400: no images; 413: too many images; 422: `num_captions` out of range.
        """
        count = len(self.images)
        if not count:
            raise ApiError(400, "no_image", "the request holds no image")
        if count > limits.images:
            raise ApiError(
                413, "too_many_images", f"a request may have at most {limits.images} images"
            )
        if not 1 <= self.num_captions <= limits.captions:
            raise invalid("num_captions", f"1 to {limits.captions}")

    def check_settings(self, config: GenerateConfig, limits: RequestLimits) -> None:
        """Check the decoding settings against the server's limits.

        Beams and numbers of tokens that the request does not set are the model's own, and may
        exceed the limits.

        Args:
            config: Complete settings.
            limits: The server's limits.

        Raises:
            ApiError: 422: a setting exceeds its limit.
        """
        most = {
            "num_beams": limits.beams,
            "max_new_tokens": limits.new_tokens,
            "min_new_tokens": limits.new_tokens,
        }
        for name in most.keys() & self.generate.keys():
            if getattr(config, name) > most[name]:
                raise invalid(f"generate.{name}", f"at most {most[name]}")
        if len(config.prompt) > limits.prompt_characters:
            raise invalid("generate.prompt", f"at most {limits.prompt_characters} characters")


def invalid(where: str, allowed: str) -> ApiError:
    """Return the error for a value that is not allowed.

    Args:
        where: Key of the value.
        allowed: Description of the allowed values.
    """
    return ApiError(422, "invalid_request", f"{where}: {allowed[:_MAX_CHARACTERS]}")


def read_image(content: bytes, limits: RequestLimits) -> bytes | ImageError:
    """Return an image's bytes, or an error if there are too many."""
    if len(content) > limits.image_bytes:
        return ImageError("too_many_bytes")
    return content


def decode_base64(text: str, limits: RequestLimits) -> bytes | ImageError:
    """Return the bytes of an image from base64 or from a `data:` URL, or an error if too many.

    Raises:
        ApiError: 400: the text is not base64, or is a `data:` URL that does not hold an image in
            base64.
    """
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        kind = head[5:].lower()
        if not comma or not kind.startswith("image/") or not kind.endswith(";base64"):
            raise ApiError(
                400, "invalid_image_data", "a data: URL must be data:image/...;base64,..."
            )
    if len(text) * 3 > (limits.image_bytes + 3) * 4:
        return ImageError("too_many_bytes")
    try:
        return _decode(text.encode())
    except (binascii.Error, ValueError):
        raise ApiError(
            400,
            "invalid_image_data",
            "the image is not valid base64: with + and /, = at its end, and no line breaks",
        ) from None


def _decode(text: bytes) -> bytes:
    """Decode base64 a mebibyte at a time, so that other threads can run in between."""
    if 0 <= text.find(b"=") < len(text) - 2:
        raise ValueError("padding before the end")
    pieces = (memoryview(text)[at : at + _PIECE] for at in range(0, len(text), _PIECE))
    return b"".join(binascii.a2b_base64(piece, strict_mode=True) for piece in pieces)
