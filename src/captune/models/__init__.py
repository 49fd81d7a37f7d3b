"""Captioners of all families behind one interface.

Names are imported on first use: the list of named sizes must not wait for torch to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from captune.lazy_names import import_on_use

if TYPE_CHECKING:
    from captune.models.build.loading import load_tokenizer
    from captune.models.build.new import build_size, choose_tokenizer, new_captioner
    from captune.models.build.sizes import ABOUT_FAMILIES, SIZES, ModelSize
    from captune.models.build.tokenizer import train_tokenizer
    from captune.models.caption_encoder import (
        CaptionEncoder,
        EncodedCaption,
        caption_reader,
        token_counter,
    )
    from captune.models.captioner import Captioner, VisionContext
    from captune.models.families import (
        FAMILIES,
        as_captioner,
        build_captioner,
        check_sources,
        load_captioner,
    )
    from captune.models.fast.fixed import FixedText
    from captune.models.fast.form import InferenceForm, exact_enough, fast_text, inference_form
    from captune.models.fast.text import FastText
    from captune.models.fast.vision import fast_stages
    from captune.models.freezing import PartSize
    from captune.models.generation_defaults import (
        model_decoding,
        read_decoding,
        shared_decoding,
        suppressed_tokens,
        write_decoding,
    )
    from captune.models.packing import (
        CaptionLoss,
        additive_mask,
        pack_captions,
        packed_causal_mask,
    )
    from captune.models.vision.folding import fold_batch_norms
    from captune.models.vision.image_transform import (
        ImageTransform,
        LevelTransform,
        Transform,
        level_transform,
    )

__all__ = [
    "ABOUT_FAMILIES",
    "FAMILIES",
    "SIZES",
    "CaptionEncoder",
    "CaptionLoss",
    "Captioner",
    "EncodedCaption",
    "FastText",
    "FixedText",
    "ImageTransform",
    "InferenceForm",
    "LevelTransform",
    "ModelSize",
    "PartSize",
    "Transform",
    "VisionContext",
    "additive_mask",
    "as_captioner",
    "build_captioner",
    "build_size",
    "caption_reader",
    "check_sources",
    "choose_tokenizer",
    "exact_enough",
    "fast_stages",
    "fast_text",
    "fold_batch_norms",
    "inference_form",
    "level_transform",
    "load_captioner",
    "load_tokenizer",
    "model_decoding",
    "new_captioner",
    "pack_captions",
    "packed_causal_mask",
    "read_decoding",
    "shared_decoding",
    "suppressed_tokens",
    "token_counter",
    "train_tokenizer",
    "write_decoding",
]

_HOMES = {
    "load_tokenizer": "captune.models.build.loading",
    "build_size": "captune.models.build.new",
    "choose_tokenizer": "captune.models.build.new",
    "new_captioner": "captune.models.build.new",
    "ABOUT_FAMILIES": "captune.models.build.sizes",
    "SIZES": "captune.models.build.sizes",
    "ModelSize": "captune.models.build.sizes",
    "train_tokenizer": "captune.models.build.tokenizer",
    "CaptionEncoder": "captune.models.caption_encoder",
    "EncodedCaption": "captune.models.caption_encoder",
    "caption_reader": "captune.models.caption_encoder",
    "token_counter": "captune.models.caption_encoder",
    "Captioner": "captune.models.captioner",
    "VisionContext": "captune.models.captioner",
    "FAMILIES": "captune.models.families",
    "as_captioner": "captune.models.families",
    "build_captioner": "captune.models.families",
    "check_sources": "captune.models.families",
    "load_captioner": "captune.models.families",
    "FixedText": "captune.models.fast.fixed",
    "InferenceForm": "captune.models.fast.form",
    "exact_enough": "captune.models.fast.form",
    "fast_text": "captune.models.fast.form",
    "inference_form": "captune.models.fast.form",
    "FastText": "captune.models.fast.text",
    "fast_stages": "captune.models.fast.vision",
    "PartSize": "captune.models.freezing",
    "model_decoding": "captune.models.generation_defaults",
    "read_decoding": "captune.models.generation_defaults",
    "shared_decoding": "captune.models.generation_defaults",
    "suppressed_tokens": "captune.models.generation_defaults",
    "write_decoding": "captune.models.generation_defaults",
    "CaptionLoss": "captune.models.packing",
    "additive_mask": "captune.models.packing",
    "pack_captions": "captune.models.packing",
    "packed_causal_mask": "captune.models.packing",
    "fold_batch_norms": "captune.models.vision.folding",
    "ImageTransform": "captune.models.vision.image_transform",
    "LevelTransform": "captune.models.vision.image_transform",
    "Transform": "captune.models.vision.image_transform",
    "level_transform": "captune.models.vision.image_transform",
}

__getattr__ = import_on_use(__name__, _HOMES)
