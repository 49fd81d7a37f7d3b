"""Torch modules to files: OpenVINO's intermediate representation, or ONNX.

Shapes: B images, L new tokens per row, T past tokens, S vision tokens, D width, N layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from captune.export.graphs import StepGraph, VisionGraph
from captune.export.openvino_file import save_openvino
from captune.export.quiet import quiet_converters
from captune.export.text_layers import take_apart
from captune.inference import GRAPH_FILES, ExportFormat
from captune.models import Captioner
from captune.software import import_without_telemetry

_ROWS, _NEW, _PAST = 2, 3, 4
"""Sizes of the examples that graphs are traced with: none is 1, which tracing treats as fixed."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Both graphs with inputs to trace them with.

    Attributes:
        vision: Pixels to image keys.
        step: New tokens to scores.
        pixels: (B, C, H, W).
        tokens: Token ids, positions and mask.
        image: 2 N keys and values of the images.
        past: 2 N keys and values of earlier tokens.
        width: D.
    """

    vision: VisionGraph
    step: StepGraph
    pixels: torch.Tensor
    tokens: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    image: list[torch.Tensor]
    past: list[torch.Tensor]
    width: int


@torch.no_grad()
def trace_examples(captioner: Captioner, pixels: torch.Tensor) -> Examples:
    """Return both graphs of a captioner in eval mode, with example inputs.

    Args:
        captioner: The model, on the CPU in float32.
        pixels: One image, (1, C, H, W).
    """
    parts = take_apart(captioner)
    vision, step = VisionGraph(captioner, parts).eval(), StepGraph(parts).eval()
    pixels = pixels.expand(_ROWS, -1, -1, -1).contiguous()
    image = list(vision(pixels))
    width = image[0].shape[1] * image[0].shape[3]
    token_ids = torch.full((_ROWS, _NEW), captioner.bos_token_id)
    tokens = token_ids, torch.arange(_NEW).repeat(_ROWS, 1), torch.zeros(_ROWS, _NEW, _NEW + _PAST)
    past = [torch.zeros(_PAST, _ROWS, width) for _ in image]
    return Examples(vision, step, pixels, tokens, image, past, width)


def write_graphs(examples: Examples, folder: Path, *, kind: ExportFormat) -> None:
    """Write both graphs into a folder, in float32."""
    with quiet_converters(), torch.no_grad():
        (_write_openvino if kind == "openvino" else _write_onnx)(examples, folder)


def step_names(examples: Examples) -> tuple[list[str], list[str]]:
    """Return the names of the step graph's inputs and outputs."""
    numbers = range(len(examples.image))
    images, past = [f"image_{n}" for n in numbers], [f"past_{n}" for n in numbers]
    new = [f"new_{n}" for n in numbers]
    return [*_TOKENS, *images, *past], ["logits", "normalizer", *new]


_TOKENS = ("input_ids", "position_ids", "mask")


def _write_openvino(examples: Examples, folder: Path) -> None:
    convert_model = import_without_telemetry("openvino.tools.ovc").convert_model
    vision_file, step_file = GRAPH_FILES["openvino"]
    shape = (-1, *examples.pixels.shape[1:])
    vision = convert_model(examples.vision, example_input=examples.pixels, input=[shape])
    _name(vision, ["pixel_values"], [f"image_{n}" for n in range(len(examples.image))])
    save_openvino(vision, folder / vision_file)
    del vision
    _, heads, length, size = examples.image[0].shape
    given = (*examples.tokens, examples.image, examples.past)
    keys, past = (-1, heads, length, size), (-1, -1, examples.width)
    shapes: list[tuple[int, ...]] = [(-1, -1), (-1, -1), (-1, -1, -1)]
    shapes += [keys for _ in examples.image] + [past for _ in examples.past]
    step = convert_model(examples.step, example_input=given, input=shapes)
    _name(step, *step_names(examples))
    save_openvino(step, folder / step_file)


def _name(network: Any, inputs: list[str], outputs: list[str]) -> None:
    for ports, names in ((network.inputs, inputs), (network.outputs, outputs)):
        for port, name in zip(ports, names, strict=True):
            port.get_tensor().set_names({name})


def _write_onnx(examples: Examples, folder: Path) -> None:
    vision_file, step_file = GRAPH_FILES["onnx"]
    batch = torch.export.Dim("batch", min=1, max=1 << 20)
    _export_onnx(
        examples.vision,
        (examples.pixels,),
        path=folder / vision_file,
        names=(["pixel_values"], [f"image_{n}" for n in range(len(examples.image))]),
        shapes=({0: batch},),
    )
    new, old = torch.export.Dim.DYNAMIC, torch.export.Dim.DYNAMIC
    token = {0: batch, 1: new}
    image = [{0: batch} for _ in examples.image]
    past = [{0: old, 1: batch} for _ in examples.past]
    _export_onnx(
        examples.step,
        (*examples.tokens, examples.image, examples.past),
        path=folder / step_file,
        names=step_names(examples),
        shapes=(token, token, {0: batch, 1: new, 2: new}, image, past),
    )


def _export_onnx(
    module: torch.nn.Module,
    given: tuple[Any, ...],
    *,
    path: Path,
    names: tuple[list[str], list[str]],
    shapes: tuple[Any, ...],
) -> None:
    torch.onnx.export(
        module,
        given,
        str(path),
        input_names=names[0],
        output_names=names[1],
        dynamic_shapes=shapes,
        dynamo=True,
        external_data=True,
        verbose=False,
    )
