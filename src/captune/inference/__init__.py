"""Images in, captions out; the only package that decodes.

Its names are imported when first used: finding images and checking settings must not wait the
seconds that torch takes to load.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from captune.inference.caption import AnyImage, OnFailure, caption_images, upright_rgb
    from captune.inference.captioner import ImageCaptioner, ImageInput, load
    from captune.inference.decoding.decode import eval_mode, generate
    from captune.inference.decoding.settings import DecodingOptions, decoding_config
    from captune.inference.images import ImageFiles, find_images
    from captune.inference.outputs.destination import (
        Destination,
        Target,
        escape_steering,
        open_destination,
    )
    from captune.inference.outputs.lines import prediction_row
    from captune.inference.predictions import read_predictions, write_predictions
    from captune.net.fetch import UrlFetcher, UrlImage
    from captune.net.rules import UrlRules, is_url

__all__ = [
    "AnyImage",
    "DecodingOptions",
    "Destination",
    "ImageCaptioner",
    "ImageFiles",
    "ImageInput",
    "OnFailure",
    "Target",
    "UrlFetcher",
    "UrlImage",
    "UrlRules",
    "caption_images",
    "decoding_config",
    "escape_steering",
    "eval_mode",
    "find_images",
    "generate",
    "is_url",
    "load",
    "open_destination",
    "prediction_row",
    "read_predictions",
    "upright_rgb",
    "write_predictions",
]

_HOMES = {
    "AnyImage": "captioning",
    "DecodingOptions": "options",
    "Destination": "destinations",
    "ImageCaptioner": "image_captioner",
    "ImageFiles": "image_files",
    "ImageInput": "image_captioner",
    "OnFailure": "captioning",
    "Target": "destinations",
    "UrlFetcher": "captune.net.fetch",
    "UrlImage": "captune.net.fetch",
    "UrlRules": "captune.net.rules",
    "caption_images": "captioning",
    "decoding_config": "options",
    "escape_steering": "destinations",
    "eval_mode": "decode",
    "find_images": "image_files",
    "generate": "decode",
    "is_url": "captune.net.rules",
    "load": "image_captioner",
    "open_destination": "destinations",
    "prediction_row": "rows",
    "read_predictions": "prediction_files",
    "upright_rgb": "captioning",
    "write_predictions": "prediction_files",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    return getattr(import_module(home if "." in home else f"{__name__}.{home}"), name)
