"""The stage `baseline`: captions of the scored split from the model before training."""

from __future__ import annotations

from captune.data import (
    load_splits,
)
from captune.inference import write_predictions
from captune.pipeline.stages.job import Job
from captune.pipeline.stages.scored import (
    build_from_recipe,
    predict_scored,
    scored_records,
)
from captune.records import Prediction


def baseline(job: Job) -> None:
    """Caption the scored split with the model before training."""
    if not job.recipe.evaluate.baseline:
        job.say("baseline: off (evaluate.baseline is false), no captions before training")
        return
    predictions = predict_before(job)
    write_predictions(job.folder / "predictions" / "before.jsonl", predictions)


def predict_before(job: Job) -> list[Prediction]:
    """Return the captions of the model before training; every process does a share."""
    records = load_splits(job.folder)
    captioner = build_from_recipe(job, records)
    return predict_scored(job, captioner, records=scored_records(job.recipe, records))
