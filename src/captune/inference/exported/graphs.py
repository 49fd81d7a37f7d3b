"""One small interface for all runtimes: arrays in, arrays out.

A graph's arrays are float32 or int64; keys and values may also be bfloat16. numpy lacks that type,
so they are uint16 arrays of the same bits, which only the runtime interprets.
"""

from __future__ import annotations

import contextlib
import functools
import locale
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from captune.errors import MissingExtraError, ModelError
from captune.inference.exported.folder import (
    EXPORT_AGAIN,
    GRAPH_FILES,
    ExportedModel,
    ExportFormat,
)
from captune.inference.exported.precisions import FP32, RuntimePrecision, SidePrecisions
from captune.software import import_openvino
from captune.storage import find_cache_folder, newest_first

Array = npt.NDArray[Any]
Backend = Literal["auto", "torch", "openvino", "onnx"]
_PACKAGES: dict[ExportFormat, str] = {"openvino": "openvino", "onnx": "onnxruntime"}
# Number of inputs of the step graph before the keys of the image and the past, and of its outputs
# before the new keys.
STEP_INPUTS, STEP_OUTPUTS = 3, 2
_MAX_COMPILED = 200
"""Maximum number of graphs in OpenVINO's cache, about 0.5 MB each: it removes none itself."""


class Graph(Protocol):
    """A compiled graph with its own buffers."""

    def __call__(self, inputs: Sequence[Array]) -> list[Array]:
        """Return the outputs, which are valid until the next call."""


@dataclass(frozen=True, slots=True)
class Graphs:
    """Both graphs of a model, compiled.

    Attributes:
        open_vision: Returns a new vision graph, from pixels to the image's keys and values.
        open_step: Returns a new step graph; see `captune.export`.
        about: Description of runtime, device and precision in one line.
        sizes: The sizes that export.json must agree with.
    """

    open_vision: Callable[[], Graph]
    open_step: Callable[[], Graph]
    about: str
    sizes: GraphSizes


@dataclass(frozen=True, slots=True)
class GraphSizes:
    """The sizes that the graphs of a model are made for.

    Attributes:
        pixels: (C, H, W) of an image.
        vocabulary: V, the number of tokens that get a score.
        width: D, width of the text side.
    """

    pixels: tuple[int, ...]
    vocabulary: int
    width: int


def compile_graphs(model: ExportedModel, *, precisions: SidePrecisions) -> Graphs:
    """Load and compile the graphs of an exported model.

    Raises:
        MissingExtraError: The runtime is not installed.
        ModelError: A file is damaged, or the runtime does not support the precision.
    """
    require_runtime(model.format, where=str(model.folder))
    compile_in = _openvino if model.format == "openvino" else _onnx
    return compile_in(model, precisions)


def has_runtime(kind: ExportFormat) -> bool:
    """Return whether the runtime of a format is installed."""
    return find_spec(_PACKAGES[kind]) is not None


def require_runtime(kind: ExportFormat, *, where: str) -> None:
    """Check that the runtime of a format is installed.

    Raises:
        MissingExtraError: It is not.
    """
    if not has_runtime(kind):
        raise MissingExtraError(
            f"{_PACKAGES[kind]}, which runs this model, is not installed",
            where=where,
            fix=f"pip install 'captune[{kind}]'",
        )


def _openvino(model: ExportedModel, precisions: SidePrecisions) -> Graphs:
    ov = import_openvino()
    half_keys = precisions.text == "bf16"
    compile_side = functools.partial(_compile, ov.Core(), half_keys=half_keys)
    paths = [model.folder / name for name in GRAPH_FILES["openvino"]]
    with _keeping_locale(), ThreadPoolExecutor(len(paths)) as pool:
        vision, step = pool.map(compile_side, paths, (precisions.vision, precisions.text))
    version = ov.__version__.partition("-")[0]
    return Graphs(
        open_vision=lambda: _OpenVinoGraph(vision),
        open_step=lambda: _OpenVinoGraph(step),
        about=f"openvino {version} on cpu, {precisions.describe()}",
        sizes=_sizes_of(
            map(_openvino_shape, (vision.inputs[0], step.outputs[0], step.outputs[-1]))
        ),
    )


def _openvino_shape(port: Any) -> list[int]:
    """Return the sizes of an input or output; -1 where they vary."""
    return [size.get_length() if size.is_static else -1 for size in port.partial_shape]


def _sizes_of(shapes: Iterable[Sequence[int]]) -> GraphSizes:
    """Return the sizes from the shapes of pixels, of scores, and of a layer's new values."""
    pixels, scores, values = shapes
    return GraphSizes(tuple(pixels[1:]), scores[-1], values[-1])


@contextlib.contextmanager
def _keeping_locale() -> Iterator[None]:
    """Restore the process's locale, which two simultaneous compilations would leave as `C`."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        yield
    finally:
        locale.setlocale(locale.LC_ALL, before)


def _compile(core: Any, path: Path, precision: RuntimePrecision, *, half_keys: bool) -> Any:
    """Return a graph compiled for this CPU.

    Raises:
        ModelError: The file is damaged.
    """
    hint = "bf16" if precision == "bf16" else "f32"
    settings = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    try:
        if half_keys:
            is_step = path.name == GRAPH_FILES["openvino"][1]
            network = _with_half_keys(core.read_model(str(path)), is_step=is_step)
            return core.compile_model(network, "CPU", settings)
        # OpenVINO caches the optimised graph by the file's name and time, without the weights.
        cached = {"CACHE_DIR": str(_compiled_folder()), "CACHE_MODE": "OPTIMIZE_SIZE"}
        with contextlib.suppress(RuntimeError, OSError):
            _drop_old(_compiled_folder())
            return core.compile_model(str(path), "CPU", settings | cached)
        # The cache folder cannot be written, or holds files of another program.
        return core.compile_model(str(path), "CPU", settings)
    except RuntimeError as error:
        raise _damaged(path, error) from error


def _compiled_folder() -> Path:
    return find_cache_folder() / "openvino"


def _drop_old(folder: Path) -> None:
    """Create the folder; if it holds too many compiled graphs, remove the oldest."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in newest_first(folder.glob("*.blob"))[_MAX_COMPILED:]:
        path.unlink(missing_ok=True)


def _with_half_keys(network: Any, *, is_step: bool) -> Any:
    """Return the graph with bfloat16 keys and values as inputs and outputs.

    Otherwise the runtime would convert the image's keys, 42 MB per image, at every step.
    """
    from openvino import Type
    from openvino.preprocess import PrePostProcessor

    borders = PrePostProcessor(network)
    for index in range(STEP_INPUTS if is_step else len(network.inputs), len(network.inputs)):
        borders.input(index).tensor().set_element_type(Type.bf16)
    for index in range(STEP_OUTPUTS if is_step else 0, len(network.outputs)):
        borders.output(index).tensor().set_element_type(Type.bf16)
    return borders.build()


class _OpenVinoGraph:
    def __init__(self, compiled: Any) -> None:
        self._openvino = import_openvino()
        self._request = compiled.create_infer_request()
        self._num_outputs = len(compiled.outputs)

    def __call__(self, inputs: Sequence[Array]) -> list[Array]:
        ov = self._openvino
        # The request reads the memory of its inputs and does not keep it: other threads would get
        # that of copies.
        kept: list[Any] = []
        for index, given in enumerate(inputs):
            # Both kinds of tensor share the array's memory, which must be contiguous and writable.
            array = np.require(given, requirements=("C", "W"))
            tensor = (
                ov.Tensor(array, array.shape, ov.Type.bf16)
                if array.dtype == np.uint16
                else ov.Tensor(array, shared_memory=True)
            )
            kept += (array, tensor)
            self._request.set_input_tensor(index, tensor)
        self._request.infer()
        found = (self._request.get_output_tensor(i) for i in range(self._num_outputs))
        return [
            tensor.data.view(np.uint16) if tensor.element_type == ov.Type.bf16 else tensor.data
            for tensor in found
        ]


def _onnx(model: ExportedModel, precisions: SidePrecisions) -> Graphs:
    import onnxruntime as ort

    if precisions != FP32:
        raise ModelError(
            f"precision {precisions.describe()} is not supported by onnxruntime on a CPU",
            where=str(model.folder),
            fix=f"use fp32, or {EXPORT_AGAIN}",
        )
    # On Windows, it reports to its makers which model runs.
    ort.disable_telemetry_events()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = _count_cores()
    sessions = []
    for name in GRAPH_FILES["onnx"]:
        try:
            path = str(model.folder / name)
            sessions.append(ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]))
        except _onnx_errors() as error:
            raise _damaged(model.folder / name, error) from error
    vision, step = sessions
    return Graphs(
        open_vision=lambda: _OnnxGraph(vision),
        open_step=lambda: _OnnxGraph(step),
        about=f"onnxruntime {ort.__version__} on cpu, fp32",
        sizes=_sizes_of(
            map(
                _onnx_shape,
                (vision.get_inputs()[0], step.get_outputs()[0], step.get_outputs()[-1]),
            )
        ),
    )


def _onnx_shape(port: Any) -> list[int]:
    """Return the sizes of an input or output; -1 where they vary."""
    return [size if isinstance(size, int) else -1 for size in port.shape]


def _count_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0


def _onnx_errors() -> Any:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    # They share no base class of their own.
    own = [kind for kind in vars(state).values() if isinstance(kind, type)]
    return (RuntimeError, *(kind for kind in own if issubclass(kind, Exception)))


class _OnnxGraph:
    def __init__(self, session: Any) -> None:
        self._session = session
        self._names = [node.name for node in session.get_inputs()]

    def __call__(self, inputs: Sequence[Array]) -> list[Array]:
        outputs: list[Array] = self._session.run(None, dict(zip(self._names, inputs, strict=True)))
        return outputs


def _damaged(path: Path, error: Exception) -> ModelError:
    reason = str(error).strip().splitlines()
    return ModelError(
        f"the graph cannot be loaded: {reason[-1] if reason else type(error).__name__}",
        where=str(path),
        fix=EXPORT_AGAIN,
    )
