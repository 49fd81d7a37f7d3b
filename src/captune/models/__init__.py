"""Captioners of all families behind one interface. Imports torch and transformers."""

from captune.models.build.loading import load_tokenizer
from captune.models.build.new import build_size, choose_tokenizer, new_captioner
from captune.models.build.sizes import SIZES, ModelSize
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
