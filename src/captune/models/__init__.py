"""Captioners of all families behind one interface. Imports torch and transformers."""

from captune.models.attention import additive_mask, packed_causal_mask
from captune.models.caption_encoder import CaptionEncoder, EncodedCaption, token_counter
from captune.models.captioner import Captioner, CaptionLoss, VisionContext
from captune.models.families import (
    FAMILIES,
    as_captioner,
    build_captioner,
    check_sources,
    load_captioner,
)
from captune.models.freezing import PartSize
from captune.models.image_transform import ImageTransform
from captune.models.init import build_size, choose_tokenizer, new_captioner
from captune.models.loading import load_tokenizer
from captune.models.own_decoding import (
    common_decoding,
    complete_decoding,
    own_decoding,
    read_decoding,
    suppressed_tokens,
    write_decoding,
)
from captune.models.packing import pack_captions
from captune.models.sizes import SIZES, ModelSize
from captune.models.tokenizer import train_tokenizer

__all__ = [
    "FAMILIES",
    "SIZES",
    "CaptionEncoder",
    "CaptionLoss",
    "Captioner",
    "EncodedCaption",
    "ImageTransform",
    "ModelSize",
    "PartSize",
    "VisionContext",
    "additive_mask",
    "as_captioner",
    "build_captioner",
    "build_size",
    "check_sources",
    "choose_tokenizer",
    "common_decoding",
    "complete_decoding",
    "load_captioner",
    "load_tokenizer",
    "new_captioner",
    "own_decoding",
    "pack_captions",
    "packed_causal_mask",
    "read_decoding",
    "suppressed_tokens",
    "token_counter",
    "train_tokenizer",
    "write_decoding",
]
