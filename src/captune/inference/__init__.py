"""Images in, captions out; the only package that decodes. Imports torch."""

from captune.inference.decode import generate

__all__ = ["generate"]
