"""What each stage does; the order and the bookkeeping are `run.py`'s."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from captune.data import (
    SkippedImage,
    caption_is_true,
    is_shapes_id,
    load_splits,
    select_split,
)
from captune.evaluation import (
    CONSTANT_CAPTION,
    Evaluation,
    Fact,
    Origin,
    ReportInputs,
    RunToScore,
    ScoringOptions,
    TrainingLog,
    choose_scored,
    format_value,
    judge_run,
    load_scores,
    metric_label,
    predict,
    read_training_log,
    save_scores,
    write_model_card,
    write_plots,
    write_report,
    write_results_csv,
)
from captune.hardware import choose_hardware
from captune.inference import read_predictions, write_predictions
from captune.models import Captioner, build_captioner, load_captioner, write_decoding
from captune.pipeline.pushing import push_finished, pushing_best
from captune.pipeline.stages.prepare import Say, prepare_data
from captune.recipe import (
    Recipe,
    base_models,
    dump_recipe,
    hide_local_paths,
    hub_data_sets,
)
from captune.records import CaptionRecord, Prediction
from captune.storage import write_json, write_text
from captune.training import TrainResult, train


@dataclass(frozen=True, slots=True)
class Job:
    """One stage of one run.

    Attributes:
        recipe: The whole recipe.
        folder: The run's folder.
        resume: Whether training goes on from a checkpoint.
        say: Takes lines for people.
    """

    recipe: Recipe
    folder: Path
    resume: bool
    say: Say


def prepare(job: Job) -> None:
    """Reads, checks and splits the data; broken images are listed and left out."""
    prepare_data(job.recipe, job.folder, say=job.say)


def baseline(job: Job) -> None:
    """Captions the scored split with the model as it is before training."""
    if not job.recipe.evaluate.baseline:
        job.say("baseline: evaluate.baseline is false, nothing to do")
        return
    records = load_splits(job.folder)
    captioner = _new_captioner(job, records)
    predictions = _predict(job, captioner, scored_records(job.recipe, records))
    write_predictions(job.folder / "predictions" / "before.jsonl", predictions)


def train_model(job: Job) -> None:
    """Trains and leaves the best model in model/."""
    with pushing_best(job.recipe, job.folder, say=job.say):
        result = train_along(job)
    log = read_training_log(job.folder / "log.jsonl")
    metrics = {
        "steps": result.steps,
        "best_step": result.best_step,
        "best_metric": job.recipe.train.best_metric,
        "best_value": result.best_value,
        "seconds": round(result.seconds, 1),
        **_losses(log, best_step=result.best_step),
    }
    write_json(job.folder / "train_metrics.json", metrics)


def train_along(job: Job) -> TrainResult:
    """This process's share of the training, which is all of it where there is no other."""
    records = load_splits(job.folder)
    captioner = _new_captioner(job, records)
    parts = (select_split(records, "train"), [r for r in records if r.split == "val"])
    if not parts[1]:
        job.say("no validation split: the last weights are kept, not the best")
    return train(
        captioner,
        parts,
        recipe=job.recipe,
        run_folder=job.folder,
        resume=job.resume,
        say=job.say,
    )


def _losses(log: TrainingLog, *, best_step: int) -> dict[str, float]:
    """Last training and validation loss, that of the model kept, and perplexities of both."""
    train_loss, val_loss = log.curve("loss").values, log.curve("val_loss")
    losses = {}
    if train_loss:
        losses["train_loss"] = train_loss[-1]
    kept = dict(zip(val_loss.steps, val_loss.values, strict=True)).get(best_step)
    validations = {"": val_loss.values[-1] if val_loss.values else None, "best_": kept}
    for prefix, value in validations.items():
        if value is not None:
            losses[f"{prefix}val_loss"] = value
            losses[f"{prefix}val_perplexity"] = math.exp(min(value, 700.0))
    return losses


def evaluate(job: Job) -> None:
    """Captions the scored split with the trained model, and scores it against all else."""
    records = load_splits(job.folder)
    captioner = load_captioner(job.folder / "model")
    _keep_decoding(job, captioner)
    scored = scored_records(job.recipe, records)
    after = _predict(job, captioner, scored)
    write_predictions(job.folder / "predictions" / "after.jsonl", after)
    run = _run_to_score(job, records, after)
    evaluation = run.score()
    extra = _extra(job, evaluation, after)
    save_scores(job.folder, evaluation, run=run, extra=extra)
    for name, predictions in (("before", run.before), ("after", after)):
        if predictions is not None:
            write_results_csv(
                job.folder / f"results_{name}_training.csv",
                scored,
                predictions=predictions,
                scores=evaluation.scores[name],
            )
    verdict = judge_run(evaluation, after, records=scored, picked_on=_picked_on(job, records))
    figures = [f"{metric_label(name)}: {format_value(name, rate)}" for name, rate in extra.items()]
    sentences = (f"{verdict.headline} {verdict.sentence}", *verdict.warnings, *figures)
    for line in (_tell_scores(evaluation), *sentences):
        job.say(line)


def _tell_scores(evaluation: Evaluation) -> str:
    """Every score in one line, `before -> after` where there is a baseline."""
    before, after = (evaluation.scores.get(name) for name in ("before", "after"))
    told = []
    for name, value in after.metrics.items() if after else ():
        values = [before.metrics[name], value] if before and name in before.metrics else [value]
        told.append(f"{metric_label(name)} {' -> '.join(format_value(name, v) for v in values)}")
    return f"scores: {', '.join(told)}"


def _keep_decoding(job: Job, captioner: Captioner) -> None:
    """Other beams train nothing again, but the model then brings the ones it was scored with."""
    write_decoding(captioner.model, job.recipe.generate)
    text = captioner.model.generation_config.to_json_string()
    path = job.folder / "model" / "generation_config.json"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def report(job: Job) -> None:
    """Writes the plots, report.html and the model card from what the other stages left."""
    records = load_splits(job.folder)
    after = read_predictions(job.folder / "predictions" / "after.jsonl")
    run = _run_to_score(job, records, after)
    evaluation = load_scores(job.folder, run)
    if evaluation is None:
        job.say("report: scores.json is not of these captions and settings, so they are scored")
        evaluation = run.score()
    environment = json.loads((job.folder / "environment.json").read_text(encoding="utf-8"))
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
            Fact(label, value, is_code=label == "Command") for label, value in environment.items()
        ],
        skipped=_read_skipped(job.folder),
        extra=_extra(job, evaluation, after),
        picked_on=_picked_on(job, records),
    )
    plots = write_plots(job.folder / "plots", inputs)
    write_report(inputs, job.folder / "report.html")
    write_model_card(
        job.folder / "model",
        inputs,
        origin=_origin(job.recipe, plots=plots),
    )
    job.say(f"report: {job.folder / 'report.html'}")
    push_finished(job.recipe, job.folder, say=job.say)


def _origin(recipe: Recipe, *, plots: Sequence[Path]) -> Origin:
    """For the model card, which others read: without this machine's paths."""
    shown = hide_local_paths(recipe)
    return Origin(
        data=shown.data.path,
        recipe=dump_recipe(shown),
        base_models=base_models(recipe),
        data_sets=hub_data_sets(recipe),
        data_revision=recipe.data.revision,
        plots=tuple(path.name for path in plots),
    )


def _picked_on(job: Job, records: Sequence[CaptionRecord]) -> str | None:
    picks = job.recipe.train.best_metric != "last" and any(r.split == "val" for r in records)
    return "val" if picks else None


WORK: dict[str, Callable[[Job], None]] = {
    "prepare": prepare,
    "baseline": baseline,
    "train": train_model,
    "evaluate": evaluate,
    "report": report,
}


def _new_captioner(job: Job, records: Sequence[CaptionRecord]) -> Captioner:
    captions = (c for record in records if record.split == "train" for c in record.captions)
    return build_captioner(job.recipe.model, captions, seed=job.recipe.seed)


def scored_records(recipe: Recipe, records: Sequence[CaptionRecord]) -> list[CaptionRecord]:
    """The images of the scored split, or a seeded choice of `evaluate.max_images` of them."""
    chosen = select_split(records, recipe.evaluate.split)
    return choose_scored(chosen, recipe.evaluate.max_images, seed=recipe.seed)


def _predict(job: Job, captioner: Captioner, records: Sequence[CaptionRecord]) -> list[Prediction]:
    hardware = choose_hardware(job.recipe.train.device, job.recipe.train.precision)
    captioner.model.to(hardware.device)
    lost: list[SkippedImage] = []
    predictions = predict(
        captioner,
        records,
        config=job.recipe.generate,
        batch_size=job.recipe.evaluate.batch_size,
        precision=hardware.precision,
        progress=lambda done: lost.append(done) if isinstance(done, SkippedImage) else None,
    )
    for image in lost:
        job.say(f"{image.file}: {image.reason}; not captioned, not scored")
    return predictions


def _before(job: Job) -> list[Prediction] | None:
    path = job.folder / "predictions" / "before.jsonl"
    return read_predictions(path) if path.is_file() else None


def _run_to_score(
    job: Job, records: Sequence[CaptionRecord], after: Sequence[Prediction]
) -> RunToScore:
    return RunToScore(
        scored_records(job.recipe, records),
        before=_before(job),
        after=after,
        training_records=[r for r in records if r.split == "train"],
        options=ScoringOptions.from_recipe(job.recipe),
    )


def _extra(job: Job, evaluation: Evaluation, after: Sequence[Prediction]) -> dict[str, float]:
    """`truth_rate` of each system on the built-in set, whose captions can be checked."""
    if not after or not all(is_shapes_id(p.image_id) for p in after):
        return {}
    constant = [(p.image_id, evaluation.constant_caption) for p in after]
    rates = {
        "truth_rate": _truth_rate([(p.image_id, p.caption) for p in after]),
        f"truth_rate_{CONSTANT_CAPTION}": _truth_rate(constant),
    }
    before = _before(job)
    if before is not None:
        rates["truth_rate_before"] = _truth_rate([(p.image_id, p.caption) for p in before])
    return rates


def _truth_rate(captions: Sequence[tuple[str, str]]) -> float:
    return sum(caption_is_true(image_id, text) for image_id, text in captions) / len(captions)


def _read_skipped(folder: Path) -> list[SkippedImage]:
    lines = (folder / "skipped_images.jsonl").read_text(encoding="utf-8").splitlines()
    return [SkippedImage(**json.loads(line)) for line in lines]
