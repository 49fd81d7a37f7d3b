"""The model card: README.md in the model's folder, with scores in the metadata of the hub.

It links to no file: pushing puts examples and plots in the place of two comments, together with
the files themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captune.evaluation.compare import (
    AFTER,
    BEFORE,
    CONSTANT_CAPTION,
    Evaluation,
    main_metrics,
)
from captune.evaluation.labels import directed_label, format_value, metric_label
from captune.evaluation.report.inputs import ReportInputs
from captune.evaluation.score_tables import short_signature
from captune.evaluation.tables import TextTable, render_table
from captune.evaluation.verdict import Verdict, judge_run
from captune.hub import EXAMPLES_PLACE, PLOTS_PLACE, Task, choose_task, describe_use
from captune.metrics import METRICS
from captune.records import Prediction
from captune.storage import write_text
from captune.suggest import format_count
from captune.text_safety import clean_text, escape_markdown, shorten_words

_SAMPLES, _MAX_WORDS = 5, 60
_SYSTEMS = {BEFORE: "before training", AFTER: "this model", CONSTANT_CAPTION: "constant caption"}


@dataclass(frozen=True, slots=True)
class Origin:
    """The sources of a model, and what its author states about it.

    Attributes:
        data: Name of the data set.
        recipe: The recipe as YAML.
        changed: The settings of the recipe that differ from their defaults, as YAML.
        base_models: Hub ids of the models it was trained from.
        data_sets: Hub ids of the data sets.
        data_revision: Revision of the data set; `None`: the newest at the time.
        license: Licence of the model; `None`: not stated.
        language: Code of the captions' language; `None`: not stated.
    """

    data: str
    recipe: str
    changed: str = ""
    base_models: tuple[str, ...] = ()
    data_sets: tuple[str, ...] = ()
    data_revision: str | None = None
    license: str | None = None
    language: str | None = None


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

    evaluation, task = inputs.evaluation, choose_task(folder)
    metadata = ModelCardData(
        library_name="transformers",
        pipeline_tag=task,
        license=origin.license,
        language=origin.language,
        tags=["image-captioning", "captune"],
        base_model=list(origin.base_models) or None,
        datasets=list(origin.data_sets) or None,
        model_name=inputs.title,
        eval_results=_results(evaluation, origin, task=task),
    )
    verdict = judge_run(
        evaluation, inputs.after, records=inputs.records, picked_on=inputs.picked_on
    )
    parts = [
        f"---\n{metadata.to_yaml()}\n---",
        f"# {escape_markdown(inputs.title)}",
        escape_markdown(inputs.description),
        f"**{escape_markdown(verdict.headline)}** {escape_markdown(verdict.sentence)}",
        "## Scores",
        *_describe_scores(evaluation),
        "## Captions",
        EXAMPLES_PLACE,
        _samples(inputs.after, split=evaluation.split),
        "## Use",
        describe_use(folder),
        "## Intended use and limits",
        _describe_limits(origin, verdict),
        "## Training data",
        _describe_data(inputs, origin),
        "## Licence",
        _describe_license(origin),
        "## Settings",
        *_describe_settings(origin),
        PLOTS_PLACE,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _results(evaluation: Evaluation, origin: Origin, *, task: Task) -> list[Any]:
    """Return rows of the hub's `model-index`; without a field for intervals, names have them."""
    from huggingface_hub import EvalResult

    scores, data = evaluation.scores[AFTER], clean_text(origin.data)
    results = []
    for name in main_metrics(evaluation):
        if METRICS[name].better is None:
            continue
        value, label, args = scores.metrics[name], metric_label(name), {}
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
                # A count such as the size of the vocabulary is a whole number.
                metric_value=int(value) if METRICS[name].decimals == 0 else round(value, 6),
                metric_args=args or None,
            )
        )
    return results


def _describe_scores(evaluation: Evaluation) -> list[str]:
    """Return the main figures, and all of them folded with the complete signature."""
    shown = main_metrics(evaluation)
    of_split = f" of the `{evaluation.split}` split" if evaluation.split else ""
    images = format_count(evaluation.num_images, "image")
    parts = [
        _score_table(evaluation, shown),
        f"Captions of {images}{of_split}, compared with human captions. In parentheses: 95 %"
        " intervals. The constant caption is the same sentence for every image.",
        _as_code(short_signature(evaluation)),
    ]
    full = [_score_table(evaluation, evaluation.metrics)] * (len(shown) < len(evaluation.metrics))
    signature = _as_code(evaluation.scores[AFTER].signature)
    parts.append(_fold("All figures, and the complete signature", *full, signature))
    return parts


def _score_table(evaluation: Evaluation, metrics: Sequence[str]) -> str:
    names = [name for name in _SYSTEMS if name in evaluation.scores]
    rows = []
    for metric in metrics:
        cells = []
        for name in names:
            scores = evaluation.scores[name]
            cell = format_value(metric, scores.metrics[metric]) if metric in scores.metrics else "–"
            if metric in scores.metrics and metric in scores.intervals:
                ends = scores.intervals[metric]
                cell += f" ({format_value(metric, ends.low)} to {format_value(metric, ends.high)})"
            cells.append(cell)
        rows.append([directed_label(metric), *cells])
    header = ["metric", *(_SYSTEMS[name] for name in names)]
    return render_table(TextTable(header, rows), "markdown")


def _describe_limits(origin: Origin, verdict: Verdict) -> str:
    language = f" Its captions are in the language `{origin.language}`." if origin.language else ""
    points = [
        f"Meant for captions of images like those of {_as_code(origin.data)}.{language} On other"
        " images it can do much worse than the scores suggest.",
        "Captions can be wrong, and repeat the errors and prejudices of the captions that it"
        " learned from. A person should check them before they describe people, or before anyone"
        " relies on them.",
        *map(escape_markdown, verdict.warnings),
    ]
    return "\n".join(f"- {point}" for point in points)


def _describe_data(inputs: ReportInputs, origin: Origin) -> str:
    trained, scored = len(inputs.training_records), inputs.evaluation.num_images
    captions = sum(len(record.captions) for record in inputs.training_records)
    of_split = f" of the `{inputs.evaluation.split}` split" if inputs.evaluation.split else ""
    revision = f" at revision {_as_code(origin.data_revision)}" if origin.data_revision else ""
    unseen = "" if inputs.evaluation.split == "train" else " that were not used for training"
    bases = ", ".join(map(_as_code, origin.base_models))
    return (
        f"{_as_code(origin.data)}{revision}: trained on {format_count(trained, 'image')} with"
        f" {format_count(captions, 'caption')},"
        f" scored on {format_count(scored, 'image')}{of_split}{unseen}."
        + (f" Training started from {bases}." if bases else "")
    )


def _describe_license(origin: Origin) -> str:
    others = [f"the base model {_as_code(name)}" for name in origin.base_models]
    sources = " and ".join([*others, "the training data"])
    also = f"The terms of {sources} apply as well."
    if origin.license is not None:
        return f"{_as_code(origin.license)}. {also}"
    return (
        "**Not stated**, so nobody may assume that they can use this model. To state it, its"
        " author sets `license:` in the recipe, for example `license: apache-2.0`, and runs"
        f" `captune run RECIPE --from report`. {also}"
    )


def _describe_settings(origin: Origin) -> list[str]:
    changed = origin.changed.strip()
    return [
        f"Settings that differ from captune's defaults:\n\n```yaml\n{changed}\n```"
        if changed
        else "All settings are captune's defaults.",
        _fold("All settings", f"```yaml\n{origin.recipe.strip()}\n```"),
    ]


def _samples(predictions: Sequence[Prediction], *, split: str) -> str:
    """Return the first captions, as code so that they are not read as markup."""
    captions = [shorten_words(each.caption, _MAX_WORDS) for each in predictions[:_SAMPLES]]
    of_split = f" of the `{split}` split" if split else ""
    return "\n".join(
        [
            f"Captions of the first images{of_split}; `report.html` in the run's folder shows them"
            " with their images:\n",
            *(f"- {_as_code(text) if text.strip() else '(empty)'}" for text in captions),
        ]
    )


def _fold(title: str, *parts: str) -> str:
    """Return a part that opens on a click; Markdown inside needs the empty lines."""
    return "\n\n".join([f"<details><summary>{title}</summary>", *parts, "</details>"])


def _as_code(text: str) -> str:
    return f"`{clean_text(text).replace('`', ' ')}`"
