"""Save a graph of OpenVINO so that its compiled form can be kept and loaded again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from captune.software import import_openvino

_LAST = np.iinfo(np.int32).max


def save_openvino(network: Any, path: Path) -> None:
    """Save a graph with its weights in float32 (by default they are halved).

    Slices to the end of an axis end at 2^31 - 1 instead of 2^63 - 1: the CPU computes with 32 bits,
    and a compiled graph that is loaded from OpenVINO's cache reads 2^63 - 1 as -1, which leaves out
    the last element.
    """
    ov = import_openvino()
    for node in network.get_ordered_ops():
        if node.get_type_name() == "Constant" and node.data.dtype == np.int64:
            values = node.data
            limited = np.clip(values, -_LAST, _LAST)
            if (limited != values).any():
                fresh = ov.opset13.constant(limited.copy(), dtype=np.int64)
                fresh.set_friendly_name(node.get_friendly_name())
                node.output(0).replace(fresh.output(0))
    ov.save_model(network, str(path), compress_to_fp16=False)
