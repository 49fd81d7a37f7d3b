"""A request for captions, in whatever form it came, checked."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from captune.errors import ImageError
from captune.recipe import GenerateConfig
from captune.serving.errors import ApiError
from captune.serving.settings import RequestLimits

_LONGEST = 300


@dataclass(frozen=True, slots=True)
class UrlInput:
    """An image that the server downloads."""

    url: str


ImageInput = bytes | UrlInput


@dataclass(frozen=True, slots=True)
class CaptionCall:
    """What a request asks for.

    Attributes:
        model: Name of a model; `None`: the default.
        images: At least one.
        num_captions: Captions per image.
        generate: Fields of `GenerateConfig`.
    """

    model: str | None
    images: tuple[ImageInput | ImageError, ...]
    num_captions: int
    generate: Mapping[str, Any]

    def check(self, limits: RequestLimits) -> None:
        """Check the numbers against the server's limits.

        Raises:
            ApiError: 400, 413 or 422.
        """
        count = len(self.images)
        if not count:
            raise ApiError(400, "no_image", "the request holds no image")
        if count > limits.images:
            raise ApiError(413, "too_many_images", f"a request has at most {limits.images} images")
        if not 1 <= self.num_captions <= limits.captions:
            raise invalid("num_captions", f"1 to {limits.captions}")

    def check_settings(self, config: GenerateConfig, limits: RequestLimits) -> None:
        """Check what the request asks for; a model's own settings may be beyond the limits.

        Raises:
            ApiError: 422.
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
    """Return the error of a value that is not allowed."""
    return ApiError(422, "invalid_request", f"{where}: {allowed[:_LONGEST]}")


def read_image(content: bytes, limits: RequestLimits) -> bytes | ImageError:
    """Return an image's bytes, or why they are too many."""
    if len(content) > limits.image_bytes:
        return ImageError("too_many_bytes")
    return content


def decode_base64(text: str, limits: RequestLimits) -> bytes | ImageError:
    """Return the bytes of an image in base64, or of a `data:` URL.

    Raises:
        ApiError: 400: the text is not base64, or a `data:` URL of something else than an image.
    """
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        kind = head[5:].lower()
        if not comma or not kind.startswith("image/") or not kind.endswith(";base64"):
            raise ApiError(400, "invalid_image_data", "a data: URL is data:image/...;base64,...")
    if len(text) * 3 > (limits.image_bytes + 3) * 4:
        return ImageError("too_many_bytes")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ApiError(400, "invalid_image_data", "the image is not valid base64") from None
