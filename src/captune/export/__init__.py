"""Convert captioners to graphs that run without torch: OpenVINO and ONNX.

Two graphs per model: pixels to the image's keys and values, and one step of text. A numpy decoder
(`captune.inference`) runs them. Imports torch and transformers.
"""

from captune.export.backend import choose_model
from captune.export.export_model import MAX_PARITY_IMAGES, ExportOptions, export_model

__all__ = ["MAX_PARITY_IMAGES", "ExportOptions", "choose_model", "export_model"]
