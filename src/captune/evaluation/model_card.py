"""The model card: README.md in the model's folder, with scores in the metadata of the hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captune.evaluation.compare import AFTER, Evaluation
from captune.evaluation.labels import format_value, metric_label
from captune.evaluation.report.inputs import ReportInputs
from captune.evaluation.verdict import judge_run
from captune.hub import Task, choose_task, describe_use
from captune.metrics import METRICS
from captune.records import Prediction
from captune.storage import write_text
from captune.suggest import format_count
from captune.text_safety import clean_text, escape_markdown

_SAMPLES = 5


@dataclass(frozen=True, slots=True)
class Origin:
    """The sources of a model.

    Attributes:
        data: Name of the data set.
        recipe: The recipe as YAML.
        base_models: Hub ids of the models it was trained from.
        data_sets: Hub ids of the data sets.
        data_revision: Revision of the data set; `None`: the newest at the time.
        plots: Names of the files in the run's plots/.
    """

    data: str
    recipe: str
    base_models: tuple[str, ...] = ()
    data_sets: tuple[str, ...] = ()
    data_revision: str | None = None
    plots: tuple[str, ...] = ()


def write_model_card(folder: Path, inputs: ReportInputs, *, origin: Origin) -> None:
    """Write README.md into the model's folder.

    Args:
        folder: The model's folder.
        inputs: The scored run.
        origin: Data, recipe and base models.

    Raises:
        OutputError: The file cannot be written.
    """
    write_text(folder / "README.md", describe_model(folder, inputs, origin=origin))


def describe_model(folder: Path, inputs: ReportInputs, *, origin: Origin) -> str:
    """Return the text of the card: metadata for the hub, then the description."""
    from huggingface_hub import ModelCardData

    scores, task = inputs.evaluation.scores[AFTER], choose_task(folder)
    metadata = ModelCardData(
        library_name="transformers",
        pipeline_tag=task,
        tags=["image-captioning", "captune"],
        base_model=list(origin.base_models) or None,
        datasets=list(origin.data_sets) or None,
        model_name=inputs.title,
        eval_results=_results(inputs.evaluation, origin, task=task),
    )
    verdict = judge_run(
        inputs.evaluation, inputs.after, records=inputs.records, picked_on=inputs.picked_on
    )
    parts = [
        f"---\n{metadata.to_yaml()}\n---",
        f"# {escape_markdown(inputs.title)}",
        escape_markdown(inputs.description),
        escape_markdown(f"{verdict.headline} {verdict.sentence}"),
        "## Scores",
        _score_table(inputs.evaluation),
        _as_code(scores.signature),
        "## Data",
        _describe_data(inputs, origin),
        "## Captions",
        _samples(inputs.after),
        *(["## Plots", _link_plots(origin.plots)] if origin.plots else []),
        "## Use",
        describe_use(folder),
        "## Recipe",
        f"```yaml\n{origin.recipe.strip()}\n```",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _results(evaluation: Evaluation, origin: Origin, *, task: Task) -> list[Any]:
    """Return rows of the hub's `model-index`; without a field for intervals, names have them."""
    from huggingface_hub import EvalResult

    scores, data = evaluation.scores[AFTER], clean_text(origin.data)
    results = []
    for name, value in scores.metrics.items():
        if METRICS[name].better is None:
            continue
        label, args = metric_label(name), {}
        if name in scores.intervals:
            interval = scores.intervals[name]
            ends = [round(interval.low, 6), round(interval.high, 6)]
            label += f" (95 % interval {ends[0]:.4g} to {ends[1]:.4g})"
            args = {"interval_95": ends}
        results.append(
            EvalResult(
                task_type=task,
                task_name="Image captioning",
                dataset_type=(*origin.data_sets, Path(data).name or data)[0],
                dataset_name=data,
                dataset_split=evaluation.split or None,
                dataset_revision=clean_text(origin.data_revision or "") or None,
                metric_type=name,
                metric_name=label,
                metric_value=round(value, 6),
                metric_args=args or None,
            )
        )
    return results


def _describe_data(inputs: ReportInputs, origin: Origin) -> str:
    trained, scored = len(inputs.training_records), inputs.evaluation.num_images
    captions = sum(len(record.captions) for record in inputs.training_records)
    of_split = f" of the `{inputs.evaluation.split}` split" if inputs.evaluation.split else ""
    revision = f" at revision {_as_code(origin.data_revision)}" if origin.data_revision else ""
    unseen = "" if inputs.evaluation.split == "train" else " that were not used for training"
    return (
        f"{_as_code(origin.data)}{revision}: trained on {format_count(trained, 'image')} with"
        f" {format_count(captions, 'caption')},"
        f" scored on {format_count(scored, 'image')}{of_split}{unseen}."
    )


def _link_plots(names: Sequence[str]) -> str:
    # They are in the run's folder, next to the model; pushing includes them.
    return "\n".join(f"![{Path(name).stem.replace('_', ' ')}](../plots/{name})" for name in names)


def _score_table(evaluation: Evaluation) -> str:
    names = list(evaluation.scores)
    lines = [
        "| metric | " + " | ".join(name.replace("_", " ") for name in names) + " |",
        "|---|" + "---:|" * len(names),
    ]
    for metric in evaluation.metrics:
        cells = []
        for name in names:
            scores = evaluation.scores[name]
            cell = format_value(metric, scores.metrics[metric]) if metric in scores.metrics else ""
            if cell and metric in scores.intervals:
                ends = scores.intervals[metric]
                cell += f" ({format_value(metric, ends.low)} to {format_value(metric, ends.high)})"
            cells.append(cell)
        lines.append(f"| {metric} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _samples(predictions: Sequence[Prediction]) -> str:
    """Return the first captions, as code so that they are not read as markup."""
    return "\n".join(f"- {_as_code(each.caption)}" for each in predictions[:_SAMPLES])


def _as_code(text: str) -> str:
    return f"`{clean_text(text).replace('`', ' ')}`"
