"""Images in, captions out; the only package that decodes.

Its names are imported on first use: finding images and checking settings must not wait seconds for
torch to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from captune.lazy_names import import_on_use

if TYPE_CHECKING:
    from captune.inference.caption import caption_images
    from captune.inference.captioner import ImageCaptioner, load
    from captune.inference.decoding.decode import eval_mode, generate
    from captune.inference.decoding.settings import DecodingOptions, decoding_config
    from captune.inference.images import ImageFiles, find_images
    from captune.inference.loaded_captioner import ImageInput, LoadedCaptioner
    from captune.inference.outputs.destination import (
        Destination,
        Target,
        open_destination,
    )
    from captune.inference.outputs.lines import prediction_row
    from captune.inference.outputs.maker import digest_model
    from captune.inference.predictions import read_predictions, write_predictions
    from captune.inference.prepare import AnyImage, Execution, OnFailure
    from captune.net import UrlFetcher, UrlImage, UrlRules, is_url

__all__ = [
    "AnyImage",
    "DecodingOptions",
    "Destination",
    "Execution",
    "ImageCaptioner",
    "ImageFiles",
    "ImageInput",
    "LoadedCaptioner",
    "OnFailure",
    "Target",
    "UrlFetcher",
    "UrlImage",
    "UrlRules",
    "caption_images",
    "decoding_config",
    "digest_model",
    "eval_mode",
    "find_images",
    "generate",
    "is_url",
    "load",
    "open_destination",
    "prediction_row",
    "read_predictions",
    "write_predictions",
]

_HOMES = {
    "AnyImage": "captune.inference.prepare",
    "DecodingOptions": "captune.inference.decoding.settings",
    "Execution": "captune.inference.prepare",
    "Destination": "captune.inference.outputs.destination",
    "ImageCaptioner": "captune.inference.captioner",
    "ImageFiles": "captune.inference.images",
    "ImageInput": "captune.inference.loaded_captioner",
    "LoadedCaptioner": "captune.inference.loaded_captioner",
    "OnFailure": "captune.inference.prepare",
    "Target": "captune.inference.outputs.destination",
    "UrlFetcher": "captune.net",
    "UrlImage": "captune.net",
    "UrlRules": "captune.net",
    "caption_images": "captune.inference.caption",
    "decoding_config": "captune.inference.decoding.settings",
    "digest_model": "captune.inference.outputs.maker",
    "eval_mode": "captune.inference.decoding.decode",
    "find_images": "captune.inference.images",
    "generate": "captune.inference.decoding.decode",
    "is_url": "captune.net",
    "load": "captune.inference.captioner",
    "open_destination": "captune.inference.outputs.destination",
    "prediction_row": "captune.inference.outputs.lines",
    "read_predictions": "captune.inference.predictions",
    "write_predictions": "captune.inference.predictions",
}

__getattr__ = import_on_use(__name__, _HOMES)
