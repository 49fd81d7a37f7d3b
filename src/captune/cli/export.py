"""`captune export`: a model as graphs that run without torch and transformers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from captune.cli.flags.decoding import ModelArgument
from captune.cli.flags.groups import takes
from captune.cli.flags.reading import read_options
from captune.progress import print_line
from captune.storage import lock_folder
from captune.suggest import format_bytes, quote_words

if TYPE_CHECKING:
    from captune.data import LoadOptions

_MIN_EQUAL, _MIN_EQUAL_INT8 = 0.98, 0.5


@takes("reading", read_options)
def export(
    model: ModelArgument,
    out: Annotated[Path, typer.Argument(help="Folder that the exported model is written to.")],
    *,
    to: Annotated[
        Literal["openvino", "onnx"],
        typer.Option(help="openvino: fastest on CPUs. onnx: for onnxruntime."),
    ],
    int8: Annotated[
        bool, typer.Option("--int8", help="8 bits: faster and smaller, with other captions.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            help="Photographs to calibrate int8 with and to compare captions on; with captions,"
            " scores are compared too.",
            show_default="built-in pictures of shapes",
        ),
    ] = None,
    min_equal: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Share of captions that must equal the model's.",
            show_default=f"{_MIN_EQUAL}, with --int8 {_MIN_EQUAL_INT8}",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing folder.")] = False,
    reading: LoadOptions,
) -> None:
    """Export a model to run without torch and transformers.

    The folder works wherever a model does: caption, evaluate, compare, captune.load. Its captions
    are compared with the model's first; export.json holds the result. An export that changes too
    many of them is refused.
    """
    from captune.data import load_records
    from captune.export import ExportOptions, export_model

    least = min_equal if min_equal is not None else _MIN_EQUAL_INT8 if int8 else _MIN_EQUAL
    records = () if data is None else load_records(data, reading).records
    options = ExportOptions(to, int8=int8, min_equal=least, force=force)
    with lock_folder(out):
        facts = export_model(model, out, options=options, records=records, say=print_line)
    for name, scores in (facts["score_difference"] or {}).items():
        print_line(describe_difference(name, scores))
    size = format_bytes(facts["sizes"]["total_bytes"])
    print_line(f"{out}: {size}; caption with it: captune caption {quote_words(str(out))} INPUT...")


def describe_difference(name: str, scores: Mapping[str, Any]) -> str:
    """Return the line that compares the scores of the model and of its export.

    Args:
        name: The metric.
        scores: Its entry of `score_difference` in export.json.
    """
    from captune.evaluation import format_delta, format_value, metric_label

    model, exported = (format_value(name, scores[key]) for key in ("model", "exported"))
    change, low, high = (
        format_delta(name, value) for value in (scores["difference"], *scores["interval"])
    )
    return (
        f"{metric_label(name)}: {model} -> {exported} (difference {change}, 95 % interval {low} to"
        f" {high})"
    )
