"""`captune score`: what predictions in files are worth, alone or side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from captune.metrics import MetricResults, PairedTest, References

METRICS_HELP = (
    "Metrics and groups, with commas. Groups: default, all, bleu, rouge, word_errors,"
    " hallucination, diversity. Metrics: bleu_1, bleu_2, bleu_3, bleu_4, rouge_l, meteor, cider,"
    " cider_plain, sacrebleu, rouge1, rouge2, rougeL, rougeLsum, wer, wer_first, spice, chair_i,"
    " chair_s, distinct_1, distinct_2, vocabulary_size, distinct_captions, most_frequent_share,"
    " mean_length."
)
"""Written out, so that `--help` need not load the metrics; a test holds it to their table."""

Intervals = dict[str, tuple[float, float]]


def score(
    references: Annotated[
        Path,
        typer.Option(help="Human captions: COCO annotations, JSON of id to list, or JSONL."),
    ],
    predictions: Annotated[
        list[Path],
        typer.Option(
            help="One caption an image: COCO results, JSON of id to caption, or JSONL. Give it"
            " again for several files side by side; the others are tested against the first."
        ),
    ],
    *,
    metrics: Annotated[str, typer.Option(help=METRICS_HELP)] = "default",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write scores and intervals to this file.")
    ] = None,
    per_image: Annotated[
        Path | None, typer.Option(help="Write one JSON line an image to this file.")
    ] = None,
    only_predicted: Annotated[
        bool,
        typer.Option("--only-predicted", help="Leave out images that the first file lacks."),
    ] = False,
    document_frequencies: Annotated[
        Path | None,
        typer.Option(help="CIDEr's document frequencies; otherwise counted in the references."),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps counted references between runs.")
    ] = None,
    resamples: Annotated[
        int, typer.Option(min=1, help="Bootstrap resamples behind each 95 % interval.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
) -> None:
    """Score captions in files against human captions."""
    from captune.metrics import (
        METRICS,
        DocumentFrequencies,
        bootstrap_intervals,
        compute,
        list_left_out,
        paired_bootstrap,
        read_predictions,
        resolve_metrics,
    )

    asked = [name.strip() for name in metrics.split(",") if name.strip()]
    wanted = resolve_metrics(asked)
    systems = {
        name: read_predictions(path)
        for name, path in zip(_name_systems(predictions), predictions, strict=True)
    }
    frequencies = DocumentFrequencies.read(document_frequencies) if document_frequencies else None
    images = next(iter(systems.values())) if only_predicted else None
    counted = _count_references(references, cache=cache, images=images)
    results = {
        name: compute(counted, captions, metrics=wanted, frequencies=frequencies)
        for name, captions in systems.items()
    }
    intervals = {
        name: bootstrap_intervals(result, num_resamples=resamples, seed=seed)
        for name, result in results.items()
    }
    first, *others = results
    tests = {
        name: paired_bootstrap(results[first], results[name], num_resamples=resamples, seed=seed)
        for name in others
    }
    _print_scores(results, intervals, tests=tests)
    for name in list_left_out(asked):
        extra = METRICS[name].needs
        typer.echo(f"{name} is left out: its extra is not there (pip install 'captune[{extra}]')")
    if json_file:
        _write_json(json_file, results, intervals=intervals, tests=tests)
    if per_image:
        _write_per_image(per_image, results)


def _name_systems(paths: Sequence[Path]) -> list[str]:
    """File names without ending where they differ, else whole paths.

    Raises:
        MetricError: A file is given twice.
    """
    from captune.errors import MetricError

    if len(set(paths)) < len(paths):
        double = next(path for path in paths if paths.count(path) > 1)
        raise MetricError(f"{double} is given twice", fix="give each predictions file once")
    stems = [path.stem for path in paths]
    return stems if len(set(stems)) == len(stems) else [str(path) for path in paths]


def _count_references(
    path: Path, *, cache: Path | None, images: Mapping[str, str] | None
) -> References:
    """The references of all images, or of those given."""
    from captune.metrics import References, read_references

    captions = read_references(path)
    if images is not None:
        captions = {key: value for key, value in captions.items() if key in images}
    return References(captions) if cache is None else References.cached(captions, cache)


def _print_scores(
    results: Mapping[str, MetricResults],
    intervals: Mapping[str, Intervals],
    *,
    tests: Mapping[str, Mapping[str, PairedTest]],
) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    # A pipe has no width: numbers cut to fit 80 columns are of no use to the program behind it.
    width = None if sys.stdout.isatty() else 10_000
    console = Console(highlight=False, width=width)
    first = next(iter(results.values()))
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("metric", no_wrap=True)
    for name in results:
        table.add_column(name, overflow="fold")
    for metric in first.corpus:
        cells = [
            _show_value(result.corpus[metric], intervals[name].get(metric))
            + _show_test(tests.get(name, {}).get(metric))
            for name, result in results.items()
        ]
        table.add_row(metric, *cells)
    console.print(table)
    console.print(f"{len(first.image_ids)} images; in brackets: 95 % bootstrap intervals", end="")
    against = next(iter(results))
    console.print(f"; tests are against {against}." if tests else ".", markup=False)
    for signature in first.signatures.values():
        console.print(signature, soft_wrap=True, markup=False)


def _show_value(value: float, interval: tuple[float, float] | None) -> str:
    # Every digit: these values are compared with those of other tools.
    if interval is None:
        return f"{value!r}"
    return f"{value!r}\n\\[{interval[0]:.4f}, {interval[1]:.4f}]"


def _show_test(test: PairedTest | None) -> str:
    if test is None:
        return ""
    return f"\np {test.p_value:.3f}; {test.wins} better, {test.ties} equal, {test.losses} worse"


def _write_json(
    path: Path,
    results: Mapping[str, MetricResults],
    *,
    intervals: Mapping[str, Intervals],
    tests: Mapping[str, Mapping[str, PairedTest]],
) -> None:
    """One file: its scores at the top; several: a section a file, and the paired tests."""
    import json
    from dataclasses import asdict

    from captune.files import write_text

    sections = {name: _section(result, intervals[name]) for name, result in results.items()}
    first, *others = sections
    content = (
        sections[first]
        if not others
        else {
            "systems": sections,
            "tested_against": first,
            "paired": {
                name: {metric: asdict(test) for metric, test in tests[name].items()}
                for name in others
            },
        }
    )
    write_text(path, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")


def _section(result: MetricResults, intervals: Intervals) -> dict[str, object]:
    return {
        "metrics": dict(result.corpus),
        "intervals": {name: list(ends) for name, ends in intervals.items()},
        "num_images": len(result.image_ids),
        "signature": result.signature,
        "signatures": dict(result.signatures),
    }


def _write_per_image(path: Path, results: Mapping[str, MetricResults]) -> None:
    """A line an image and file; `predictions` names the file where there are several."""
    import json

    from captune.files import write_text

    lines = []
    for name, result in results.items():
        columns = {metric: values.tolist() for metric, values in result.per_image.items()}
        for place, image_id in enumerate(result.image_ids):
            row: dict[str, object] = {"image_id": image_id}
            if len(results) > 1:
                row["predictions"] = name
            row |= {metric: values[place] for metric, values in columns.items()}
            lines.append(json.dumps(_finite(row), allow_nan=False) + "\n")
    write_text(path, "".join(lines))


def _finite(value: object) -> object:
    """The same with null for NaN and infinities, which JSON does not have."""
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
