"""The model card: README.md in the model's folder, with its scores where the hub reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from captune.evaluation.compare import AFTER, Evaluation
from captune.evaluation.report.inputs import ReportInputs
from captune.evaluation.verdict import judge_run
from captune.files import write_text
from captune.metrics import METRICS
from captune.records import Prediction

_SAMPLES = 5


def write_model_card(folder: Path, inputs: ReportInputs, *, data: str, recipe: str) -> None:
    """Writes README.md into the model's folder.

    Args:
        folder: The model's folder.
        inputs: The run, scored.
        data: Name of the data set.
        recipe: The recipe as YAML.

    Raises:
        OutputError: The place cannot be written.
    """
    write_text(folder / "README.md", describe_model(inputs, data=data, recipe=recipe))


def describe_model(inputs: ReportInputs, *, data: str, recipe: str) -> str:
    """The card's text: metadata for the hub, then what people read."""
    from huggingface_hub import EvalResult, ModelCardData

    scores = inputs.evaluation.scores[AFTER]
    results = [
        EvalResult(
            task_type="image-to-text",
            task_name="Image captioning",
            dataset_type=Path(data).name or data,
            dataset_name=data,
            metric_type=name,
            metric_value=round(value, 6),
        )
        for name, value in scores.metrics.items()
        if METRICS[name].better is not None
    ]
    metadata = ModelCardData(
        library_name="transformers",
        pipeline_tag="image-to-text",
        tags=["image-captioning", "captune"],
        model_name=inputs.title,
        eval_results=results,
    )
    verdict = judge_run(
        inputs.evaluation, inputs.after, records=inputs.records, picked_on=inputs.picked_on
    )
    parts = [
        f"---\n{metadata.to_yaml()}\n---",
        f"# {inputs.title}",
        inputs.description,
        f"{verdict.headline} {verdict.sentence}",
        "## Scores",
        _score_table(inputs.evaluation),
        f"`{scores.signature}`",
        "## Captions",
        _samples(inputs.after),
        "## Use",
        _USE,
        "## Recipe",
        f"```yaml\n{recipe.strip()}\n```",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


_USE = """```python
import captune

print(captune.load("THIS_FOLDER").caption("photo.jpg")[0].caption)
```

The folder is a plain transformers model and opens without captune too."""


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
            cell = f"{scores.metrics[metric]:.4f}" if metric in scores.metrics else ""
            if cell and metric in scores.intervals:
                interval = scores.intervals[metric]
                cell += f" ({interval.low:.4f} to {interval.high:.4f})"
            cells.append(cell)
        lines.append(f"| {metric} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _samples(predictions: Sequence[Prediction]) -> str:
    """The first captions, as code so that nothing in them is taken for markup."""
    return "\n".join(
        f"- `{prediction.caption.replace('`', ' ')}`" for prediction in predictions[:_SAMPLES]
    )
