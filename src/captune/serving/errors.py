"""Errors of requests and of single images: a code, an HTTP status and a message."""

from __future__ import annotations

from types import MappingProxyType

from captune.errors import ImageError


class ApiError(Exception):
    """A request that is answered with an error.

    Attributes:
        status: HTTP status.
        code: A stable word that programs can compare.
        message: Description of the problem, and what to do.
        retry_after: Seconds after which a client may retry; `None`: it should not.
    """

    def __init__(
        self, status: int, code: str, message: str, *, retry_after: int | None = None
    ) -> None:
        """Keep the fields of the answer."""
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.retry_after = retry_after


# By `what` of an ImageError: code, status and message of the answer.
_IMAGES: MappingProxyType[str, tuple[str, int, str]] = MappingProxyType(
    {
        "empty": ("image_corrupt", 400, "the image has no bytes"),
        "truncated": ("image_corrupt", 400, "the image ends early"),
        "corrupt": ("image_corrupt", 400, "the image is damaged"),
        "text_bomb": ("image_corrupt", 400, "the text in the image unpacks to too many bytes"),
        "crash": ("image_corrupt", 400, "the image cannot be decoded"),
        "io": ("image_corrupt", 400, "the image cannot be read"),
        "git_lfs_pointer": ("image_corrupt", 400, "this is a Git LFS pointer, not an image"),
        "aspect": ("image_corrupt", 400, "the image is too long and narrow"),
        "too_slow": ("image_too_slow", 400, "decoding the image takes too long"),
        "memory": ("image_too_large", 413, "decoding the image takes too much memory"),
        "too_many_pixels": ("image_too_large", 413, "the image has too many pixels"),
        "too_many_bytes": ("image_too_large", 413, "the image has too many bytes"),
        "not_an_image": ("image_unsupported", 415, "this is not an image in a supported format"),
        "needs_plugin": ("image_unsupported", 415, "the server has no decoder for this format"),
        "url_forbidden": ("url_forbidden", 400, "images at this URL are not allowed"),
        "url_too_large": ("image_too_large", 413, "the image at the URL has too many bytes"),
        "url_timeout": ("url_timeout", 400, "the image at the URL did not arrive in time"),
        "url_status": ("url_unreachable", 400, "the URL did not return an image"),
        "url_redirects": ("url_unreachable", 400, "the URL redirects too often"),
        "url_encoded": ("url_unreachable", 400, "the URL returns a compressed response"),
        "url_unreachable": ("url_unreachable", 400, "the URL cannot be reached"),
        "empty_caption": ("empty_caption", 422, "the model returned an empty caption"),
        "prompt": ("prompt_too_long", 422, "the prompt leaves no room for a caption"),
        "model_error": ("model_error", 500, "the model failed on this image"),
        "worker_crash": (
            "worker_crash",
            500,
            "the model's process ended twice on this image; it is not tried again for an hour",
        ),
        "worker_lost": ("worker_lost", 503, "the model's process ended; send the image again"),
    }
)


def image_error(reason: str) -> ApiError:
    """Return the error of one image, without details, which belong in the log.

    Args:
        reason: `what` of an `ImageError`, or a reason that the engine gives.
    """
    code, status, message = _IMAGES.get(reason, _IMAGES["corrupt"])
    return ApiError(status, code, message, retry_after=1 if status == 503 else None)


def from_image_error(error: ImageError) -> ApiError:
    """Return the error that a client gets for an unusable image."""
    return image_error(error.what)
