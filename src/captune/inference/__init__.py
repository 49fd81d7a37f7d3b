"""Images in, captions out; the only package that decodes. Imports torch."""

from captune.inference.captioning import AnyImage, OnFailure, caption_images
from captune.inference.decode import generate
from captune.inference.image_captioner import ImageCaptioner, ImageInput, load
from captune.inference.options import DecodingOptions, decoding_config

__all__ = [
    "AnyImage",
    "DecodingOptions",
    "ImageCaptioner",
    "ImageInput",
    "OnFailure",
    "caption_images",
    "decoding_config",
    "generate",
    "load",
]
