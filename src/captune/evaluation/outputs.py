"""The files of `captune evaluate --out` and `captune compare --out`."""

from __future__ import annotations

import itertools
from pathlib import Path

from captune.data import replace_skipped
from captune.evaluation.compare import AFTER, BEFORE
from captune.evaluation.plots import Picture, plot_grid, write_plots
from captune.evaluation.report import (
    ComparisonInputs,
    ReportInputs,
    write_comparison,
    write_report,
)
from captune.evaluation.report.png import save_figure
from captune.evaluation.scoring.score_files import (
    describe_scores,
    write_results_csv,
    write_scores_json,
)
from captune.inference import write_predictions
from captune.storage import open_folder, refuse_existing, write_json

_SIDE_BY_SIDE, _MAX_CHOSEN = 12, 60
"""Images in comparison.png: scored ones, and at most as many chosen ones; the page has all."""


def check_output(folder: Path, *, force: bool) -> None:
    """Stop before any work if results would be overwritten, or cannot be written.

    Args:
        folder: Created if it does not exist.
        force: Whether existing results may be overwritten.

    Raises:
        OutputError: The folder is not empty, or is not writable.
    """
    refuse_existing(folder, force=force)
    open_folder(folder)


def write_evaluation(folder: Path, inputs: ReportInputs) -> None:
    """Write predictions, results CSV, scores.json, plots and report.html of one model.

    `predictions.jsonl` and `results.csv` belong to the model, `predictions_baseline.jsonl` and
    `results_baseline.csv` to the baseline, if there is one.

    Raises:
        OutputError: A file cannot be written.
    """
    systems = {AFTER: ("", inputs.after), BEFORE: ("_baseline", inputs.before or ())}
    for name, (suffix, predictions) in systems.items():
        rows, table = folder / f"predictions{suffix}.jsonl", folder / f"results{suffix}.csv"
        if name in inputs.evaluation.scores:
            write_predictions(rows, predictions)
            scores = inputs.evaluation.scores[name]
            write_results_csv(table, inputs.records, predictions=predictions, scores=scores)
        else:
            # With --force, the baseline of an earlier evaluation must not remain.
            rows.unlink(missing_ok=True)
            table.unlink(missing_ok=True)
    replace_skipped(inputs.skipped, folder / "skipped_images.jsonl")
    write_plots(folder / "plots", inputs)
    write_scores_json(folder / "scores.json", inputs.evaluation, extra=inputs.extra)
    write_report(inputs, folder / "report.html")


def write_comparison_files(folder: Path, inputs: ComparisonInputs) -> None:
    """Write each model's predictions and CSV, scores.json, comparison.png and comparison.html.

    Raises:
        OutputError: A file cannot be written.
    """
    scored = {record.image_id for record in inputs.records}
    _remove_models(folder, after=len(inputs.systems))
    for place, (name, predictions) in enumerate(inputs.systems.items(), start=1):
        # Model names can contain slashes; the number is the model's place in scores.json.
        own = [p for p in predictions if p.image_id in scored]
        rows, table = _model_files(folder, place)
        write_predictions(rows, own)
        scores = inputs.evaluation.scores[name]
        write_results_csv(table, inputs.records, predictions=own, scores=scores)
    save_figure(folder / "comparison.png", plot_grid(_side_by_side(inputs)))
    write_json(folder / "scores.json", describe_scores(inputs.evaluation))
    write_comparison(inputs, folder / "comparison.html")


def _model_files(folder: Path, place: int) -> tuple[Path, Path]:
    """Return the predictions and the table of the model with this number, from 1."""
    return folder / "predictions" / f"model_{place}.jsonl", folder / f"results_model_{place}.csv"


def _remove_models(folder: Path, *, after: int) -> None:
    """Remove the files of further models, which `--force` left from an earlier comparison."""
    for place in itertools.count(after + 1):
        files = [path for path in _model_files(folder, place) if path.is_file()]
        if not files:
            return
        for path in files:
            path.unlink()


def _side_by_side(inputs: ComparisonInputs) -> list[Picture]:
    captions = {
        name: {p.image_id: p.caption for p in predictions}
        for name, predictions in inputs.systems.items()
    }
    pictures = []
    for record in inputs.chosen[:_MAX_CHOSEN] or inputs.records[:_SIDE_BY_SIDE]:
        lines = [f"{n}: {own.get(record.image_id) or '(none)'}" for n, own in captions.items()]
        human = [f"human: {caption}" for caption in record.captions[:1]]
        pictures.append(Picture(record, (*lines, *human)))
    return pictures
