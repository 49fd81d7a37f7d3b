"""The stage `report`: plots, report.html and the model card, from files of the other stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from captune.data import (
    is_shapes_id,
    load_splits,
    read_skipped,
)
from captune.evaluation import (
    Fact,
    Origin,
    ReportInputs,
    RunSettings,
    describe_seconds,
    load_scores,
    read_training_log,
    write_model_card,
    write_plots,
    write_report,
)
from captune.inference import read_predictions
from captune.pipeline.pushing import push_finished
from captune.pipeline.stages.duplicates import describe_duplicates
from captune.pipeline.stages.job import Job
from captune.pipeline.stages.scored import (
    picked_on,
    read_spare,
    read_step,
    run_to_score,
    truth_rates,
)
from captune.recipe import (
    Recipe,
    base_models,
    dump_changed,
    dump_recipe,
    hide_local_paths,
    hub_data_sets,
)
from captune.storage import read_json_object

_DATA_CHECK = "data_check.html"
_TIMED = {"prepare": "data", "baseline": "baseline", "train": "training", "evaluate": "scoring"}
_MAX_SECONDS = 1e9


def report(job: Job) -> None:
    """Write the plots, report.html and the model card from files of the other stages."""
    records = load_splits(job.folder)
    after = read_predictions(job.folder / "predictions" / "after.jsonl")
    run = run_to_score(job, records, after=after)
    evaluation = load_scores(job.folder, run)
    if evaluation is None:
        job.say("report: scores.json is for other captions or settings, so these are scored again")
        evaluation = run.score()
    fix = "delete it: the next captune run rewrites it"
    environment = read_json_object(job.folder / "environment.json", fix=fix)
    inputs = ReportInputs(
        title=job.recipe.name,
        description=job.recipe.description,
        records=run.records,
        after=after,
        evaluation=evaluation,
        generate=job.recipe.generate,
        seed=job.recipe.seed,
        before=run.before,
        training_records=run.training_records,
        log=read_training_log(job.folder / "log.jsonl"),
        facts=[
            *(
                Fact(label, str(value), is_code=label == "Command")
                for label, value in environment.items()
            ),
            *describe_times(read_spare(job, "stages.json")),
        ],
        skipped=read_skipped(job.folder / "skipped_images.jsonl"),
        extra=truth_rates(job, evaluation, after=after),
        picked_on=picked_on(job, records),
        best_step=read_step(job, "best_step"),
        data_check=_DATA_CHECK if (job.folder / _DATA_CHECK).is_file() else "",
        source=RunSettings(
            str(job.folder),
            job.recipe,
            # Drawings of few shapes are alike; nothing is wrong with them.
            ""
            if any(is_shapes_id(r.image_id) for r in after[:1])
            else describe_duplicates(read_spare(job, "data_check.json")),
            read_step(job, "steps") or 0,
        ),
    )
    write_plots(job.folder / "plots", inputs)
    write_report(inputs, job.folder / "report.html")
    write_model_card(
        job.folder / "model",
        inputs,
        origin=_origin(job.recipe),
    )
    push_finished(job.recipe, job.folder, say=job.say)


def describe_times(stages: Mapping[str, Any]) -> list[Fact]:
    """Return how long the stages before the report took.

    Args:
        stages: Content of stages.json, which may be damaged: what is not a time is skipped.
    """
    seconds = {
        word: entry["seconds"]
        for stage, word in _TIMED.items()
        if isinstance(entry := stages.get(stage), dict)
        and isinstance(entry.get("seconds"), int | float)
        and 0 <= entry["seconds"] < _MAX_SECONDS
    }
    if not seconds:
        return []
    parts = ", ".join(f"{word} {describe_seconds(own)}" for word, own in seconds.items())
    return [Fact("Time", f"{describe_seconds(sum(seconds.values()))}: {parts}")]


def _origin(recipe: Recipe) -> Origin:
    """Describe the run for the public model card, without local paths."""
    shown = hide_local_paths(recipe)
    return Origin(
        data=shown.data.path,
        recipe=dump_recipe(shown),
        changed=dump_changed(shown),
        base_models=base_models(recipe),
        data_sets=hub_data_sets(recipe),
        data_revision=recipe.data.revision,
        license=recipe.license,
        language=recipe.language,
    )
