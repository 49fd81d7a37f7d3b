"""Graphs in 8 bits with nncf: less to compute in vision, less to read in text.

Vision runs once per image over hundreds of tokens, so its products are computed in int8, with
ranges from calibration photographs. A text step reads all weights for a few tokens: only its
weights are stored in int8, and nothing else is rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from captune.errors import MissingExtraError
from captune.export.openvino_file import save_openvino
from captune.export.quiet import quiet_converters
from captune.inference import GRAPH_FILES, ExportFormat
from captune.software import import_openvino, import_without_telemetry, installed_version

Pixels = npt.NDArray[np.float32]


def require_nncf() -> None:
    """Check that nncf is installed.

    Raises:
        MissingExtraError: It is not.
    """
    if installed_version("nncf") is None:
        raise MissingExtraError(
            "int8 needs nncf, which is not installed", fix="pip install 'captune[openvino]'"
        )


def quantize_graphs(folder: Path, calibration: Sequence[Pixels], *, kind: ExportFormat) -> None:
    """Replace both graphs of a folder with their 8-bit form.

    Args:
        folder: Holds the graphs in float32.
        calibration: Model inputs (C, H, W) of photographs.
        kind: Format of the graphs.
    """
    with quiet_converters():
        (_quantize_openvino if kind == "openvino" else _quantize_onnx)(folder, calibration)


def _quantize_openvino(folder: Path, calibration: Sequence[Pixels]) -> None:
    nncf = import_without_telemetry("nncf")
    ov = import_openvino()
    core = ov.Core()
    vision_file, step_file = (folder / name for name in GRAPH_FILES["openvino"])
    batches = nncf.Dataset([image[None] for image in calibration])
    vision = nncf.quantize(
        core.read_model(str(vision_file)),
        batches,
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(calibration),
    )
    _replace(vision, vision_file)
    step = nncf.compress_weights(
        core.read_model(str(step_file)), mode=nncf.CompressWeightsMode.INT8_SYM
    )
    _replace(step, step_file)


def _replace(network: Any, path: Path) -> None:
    """Save over a graph whose weights the network may still read."""
    fresh = path.with_name(f"new_{path.name}")
    save_openvino(network, fresh)
    fresh.with_suffix(".bin").replace(path.with_suffix(".bin"))
    fresh.replace(path)


def _quantize_onnx(folder: Path, calibration: Sequence[Pixels]) -> None:
    import onnx

    nncf = import_without_telemetry("nncf")
    vision_file, step_file = (folder / name for name in GRAPH_FILES["onnx"])
    batches = nncf.Dataset([{"pixel_values": image[None]} for image in calibration])
    vision = nncf.quantize(
        onnx.load(str(vision_file)),
        batches,
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(calibration),
    )
    step = nncf.compress_weights(onnx.load(str(step_file)), mode=nncf.CompressWeightsMode.INT8_SYM)
    for network, path in ((vision, vision_file), (step, step_file)):
        path.unlink()
        data = path.with_name(f"{path.name}.data")
        data.unlink(missing_ok=True)
        onnx.save(
            network, str(path), save_as_external_data=True, location=data.name, size_threshold=1024
        )
