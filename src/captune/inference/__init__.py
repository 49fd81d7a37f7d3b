"""Caption images; the only package that generates text.

Names are imported on first use: finding images and checking settings must not wait seconds for
torch to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from captune.lazy_names import import_on_use

if TYPE_CHECKING:
    from captune.inference.batches import BatchCaptioner, RunningBatch
    from captune.inference.caption import caption_images
    from captune.inference.captioner import ImageCaptioner, load
    from captune.inference.decoding.decode import eval_mode, generate, text_backend
    from captune.inference.decoding.settings import DecodingOptions, decoding_config
    from captune.inference.exported.cache import (
        PROBED_IMAGES,
        Probe,
        RunRequest,
        conversion_folder,
        drop_unused,
        has_conversion,
        known_model,
        local_files,
        write_probe,
    )
    from captune.inference.exported.captioner import load_exported
    from captune.inference.exported.folder import (
        EXPORT_SCHEMA,
        GRAPH_FILES,
        MIN_JUDGED,
        TOKENIZER_FILE,
        ExportFormat,
        find_exported,
    )
    from captune.inference.exported.graphs import Backend, has_runtime, require_runtime
    from captune.inference.exported.image_levels import ImageRecipe
    from captune.inference.exported.precisions import (
        BF16,
        BF16_VISION,
        EXACT_ENOUGH,
        FP32,
        SidePrecisions,
        runtime_computes_bf16,
    )
    from captune.inference.images import (
        Found,
        ImageFile,
        ImageSearch,
        SkippedLink,
        UnreadableImage,
        check_url,
        is_folder,
        no_images,
    )
    from captune.inference.loaded_captioner import ImageInput, LoadedCaptioner
    from captune.inference.model_digest import digest_model
    from captune.inference.prediction_rows import (
        csv_text,
        parse_csv,
        prediction_row,
        to_prediction,
    )
    from captune.inference.predictions import read_predictions, write_predictions
    from captune.inference.prepare import AnyImage, Execution, OnFailure
    from captune.net import UrlFetcher, UrlImage, UrlRules, is_url

__all__ = [
    "BF16",
    "BF16_VISION",
    "EXACT_ENOUGH",
    "EXPORT_SCHEMA",
    "FP32",
    "GRAPH_FILES",
    "MIN_JUDGED",
    "PROBED_IMAGES",
    "TOKENIZER_FILE",
    "AnyImage",
    "Backend",
    "BatchCaptioner",
    "DecodingOptions",
    "Execution",
    "ExportFormat",
    "Found",
    "ImageCaptioner",
    "ImageFile",
    "ImageInput",
    "ImageRecipe",
    "ImageSearch",
    "LoadedCaptioner",
    "OnFailure",
    "Probe",
    "RunRequest",
    "RunningBatch",
    "SidePrecisions",
    "SkippedLink",
    "UnreadableImage",
    "UrlFetcher",
    "UrlImage",
    "UrlRules",
    "caption_images",
    "check_url",
    "conversion_folder",
    "csv_text",
    "decoding_config",
    "digest_model",
    "drop_unused",
    "eval_mode",
    "find_exported",
    "generate",
    "has_conversion",
    "has_runtime",
    "is_folder",
    "is_url",
    "known_model",
    "load",
    "load_exported",
    "local_files",
    "no_images",
    "parse_csv",
    "prediction_row",
    "read_predictions",
    "require_runtime",
    "runtime_computes_bf16",
    "text_backend",
    "to_prediction",
    "write_predictions",
    "write_probe",
]

_HOMES = {
    "Backend": "captune.inference.exported.graphs",
    "Probe": "captune.inference.exported.cache",
    "conversion_folder": "captune.inference.exported.cache",
    "drop_unused": "captune.inference.exported.cache",
    "find_exported": "captune.inference.exported.folder",
    "has_conversion": "captune.inference.exported.cache",
    "PROBED_IMAGES": "captune.inference.exported.cache",
    "RunRequest": "captune.inference.exported.cache",
    "known_model": "captune.inference.exported.cache",
    "local_files": "captune.inference.exported.cache",
    "write_probe": "captune.inference.exported.cache",
    "AnyImage": "captune.inference.prepare",
    "DecodingOptions": "captune.inference.decoding.settings",
    "BF16": "captune.inference.exported.precisions",
    "BF16_VISION": "captune.inference.exported.precisions",
    "FP32": "captune.inference.exported.precisions",
    "SidePrecisions": "captune.inference.exported.precisions",
    "EXACT_ENOUGH": "captune.inference.exported.precisions",
    "EXPORT_SCHEMA": "captune.inference.exported.folder",
    "ExportFormat": "captune.inference.exported.folder",
    "GRAPH_FILES": "captune.inference.exported.folder",
    "MIN_JUDGED": "captune.inference.exported.folder",
    "ImageRecipe": "captune.inference.exported.image_levels",
    "TOKENIZER_FILE": "captune.inference.exported.folder",
    "has_runtime": "captune.inference.exported.graphs",
    "load_exported": "captune.inference.exported.captioner",
    "require_runtime": "captune.inference.exported.graphs",
    "runtime_computes_bf16": "captune.inference.exported.precisions",
    "Execution": "captune.inference.prepare",
    "BatchCaptioner": "captune.inference.batches",
    "RunningBatch": "captune.inference.batches",
    "ImageCaptioner": "captune.inference.captioner",
    "no_images": "captune.inference.images",
    "is_folder": "captune.inference.images",
    "check_url": "captune.inference.images",
    "UnreadableImage": "captune.inference.images",
    "SkippedLink": "captune.inference.images",
    "ImageSearch": "captune.inference.images",
    "ImageFile": "captune.inference.images",
    "Found": "captune.inference.images",
    "ImageInput": "captune.inference.loaded_captioner",
    "LoadedCaptioner": "captune.inference.loaded_captioner",
    "OnFailure": "captune.inference.prepare",
    "UrlFetcher": "captune.net",
    "UrlImage": "captune.net",
    "UrlRules": "captune.net",
    "caption_images": "captune.inference.caption",
    "csv_text": "captune.inference.prediction_rows",
    "to_prediction": "captune.inference.prediction_rows",
    "parse_csv": "captune.inference.prediction_rows",
    "decoding_config": "captune.inference.decoding.settings",
    "digest_model": "captune.inference.model_digest",
    "eval_mode": "captune.inference.decoding.decode",
    "generate": "captune.inference.decoding.decode",
    "text_backend": "captune.inference.decoding.decode",
    "is_url": "captune.net",
    "load": "captune.inference.captioner",
    "prediction_row": "captune.inference.prediction_rows",
    "read_predictions": "captune.inference.predictions",
    "write_predictions": "captune.inference.predictions",
}

__getattr__ = import_on_use(__name__, _HOMES)
