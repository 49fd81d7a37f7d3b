"""What each stage does; the order and the bookkeeping are `run.py`'s."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from captune.data import (
    LoadOptions,
    SkippedImage,
    assign_splits,
    caption_is_true,
    check_data,
    is_shapes_id,
    load_records,
    load_splits,
    raise_when_too_many_bad,
    save_skipped,
    save_splits,
    select_split,
    take_fraction,
)
from captune.evaluation import (
    CONSTANT_CAPTION,
    Evaluation,
    Fact,
    ReportInputs,
    ScoringOptions,
    TrainingLog,
    choose_scored,
    format_value,
    judge_run,
    metric_label,
    predict,
    read_predictions,
    read_training_log,
    score_run,
    write_model_card,
    write_plots,
    write_predictions,
    write_report,
    write_results_csv,
    write_scores_json,
)
from captune.files import write_text
from captune.models import Captioner, build_captioner, choose_tokenizer, load_captioner
from captune.models.devices import choose_hardware
from captune.recipe import Recipe
from captune.records import CaptionRecord, Prediction
from captune.training import train


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
    say: Callable[[str], None]


def prepare(job: Job) -> None:
    """Reads, checks and splits the data; broken images are listed and left out."""
    data = job.recipe.data
    options = LoadOptions(
        format=data.format,
        image_column=data.image_column,
        caption_column=data.caption_column,
        image_root=Path(data.image_root) if data.image_root else None,
        split_files=data.split_files,
        revision=data.revision,
        streaming=data.streaming,
    )
    loaded = load_records(data.path, options)
    for note in loaded.notes:
        job.say(note)
    # Splits are drawn first, so that the check sees an image on both sides of one.
    records = _split(job.recipe, loaded.records)
    check = check_data(
        replace(loaded, records=tuple(records)),
        count_tokens=_token_counter(job.recipe, records),
        max_caption_tokens=data.max_caption_tokens,
        max_pixels=data.max_pixels,
        num_workers=data.num_workers or None,
    )
    write_text(job.folder / "data_check.json", check.to_json())
    skipped = (*loaded.skipped, *check.unreadable)
    save_skipped(skipped, job.folder / "skipped_images.jsonl")
    broken = [image for image in skipped if image.reason != "no_caption"]
    raise_when_too_many_bad(
        broken,
        num_images=len(loaded.records) + len(loaded.skipped),
        max_bad_fraction=data.max_bad_fraction,
    )
    for problem in check.problems:
        job.say(f"data: {problem.text}")
    unreadable = {image.image_id for image in check.unreadable}
    records = [record for record in records if record.image_id not in unreadable]
    given = any(record.split for record in loaded.records)
    seed = None if given else job.recipe.seed
    save_splits(records, job.folder, seed=seed, by=data.split_by)


def _split(recipe: Recipe, records: Sequence[CaptionRecord]) -> list[CaptionRecord]:
    shares = recipe.data.split_fractions
    split = assign_splits(
        records,
        fractions=(shares.train, shares.val, shares.test),
        seed=recipe.seed,
        by=recipe.data.split_by,
    )
    train_part = take_fraction(select_split(split, "train"), recipe.data.fraction, seed=recipe.seed)
    return [*train_part, *(record for record in split if record.split != "train")]


def _token_counter(recipe: Recipe, records: Sequence[CaptionRecord]) -> Callable[[str], int]:
    captions = (c for record in records if record.split == "train" for c in record.captions)
    tokenizer = choose_tokenizer(recipe.model, captions)
    as_trained = str.lower if recipe.data.lower_case else str
    return lambda caption: len(tokenizer(as_trained(caption), add_special_tokens=False).input_ids)


def baseline(job: Job) -> None:
    """Captions the test split with the model as it is before training."""
    if not job.recipe.evaluate.baseline:
        job.say("baseline: evaluate.baseline is false, nothing to do")
        return
    records = load_splits(job.folder)
    captioner = _new_captioner(job, records)
    predictions = _predict(job, captioner, _scored_records(job, records))
    write_predictions(job.folder / "predictions" / "before.jsonl", predictions)


def train_model(job: Job) -> None:
    """Trains and leaves the best model in model/."""
    records = load_splits(job.folder)
    captioner = _new_captioner(job, records)
    parts = (select_split(records, "train"), [r for r in records if r.split == "val"])
    if not parts[1]:
        job.say("no validation split: the last weights are kept, not the best")
    result = train(
        captioner, parts, recipe=job.recipe, run_folder=job.folder, resume=job.resume, say=job.say
    )
    log = read_training_log(job.folder / "log.jsonl")
    metrics = {
        "steps": result.steps,
        "best_step": result.best_step,
        "best_metric": job.recipe.train.best_metric,
        "best_value": result.best_value,
        "seconds": round(result.seconds, 1),
        **_last_losses(log),
    }
    write_text(job.folder / "train_metrics.json", json.dumps(metrics, indent=1) + "\n")


def _last_losses(log: TrainingLog) -> dict[str, float]:
    """Last training and validation loss, and the perplexity of the latter."""
    train_loss, val_loss = log.curve("loss").values, log.curve("val_loss").values
    losses = {}
    if train_loss:
        losses["train_loss"] = train_loss[-1]
    if val_loss:
        losses["val_loss"] = val_loss[-1]
        losses["val_perplexity"] = math.exp(min(val_loss[-1], 700.0))
    return losses


def evaluate(job: Job) -> None:
    """Captions the test split with the trained model, and scores it against all else."""
    records = load_splits(job.folder)
    captioner = load_captioner(job.folder / "model")
    after = _predict(job, captioner, _scored_records(job, records))
    write_predictions(job.folder / "predictions" / "after.jsonl", after)
    evaluation = _score(job, records, after)
    extra = _extra(job, evaluation, after)
    write_scores_json(job.folder / "scores.json", evaluation, extra=extra)
    scored = _scored_records(job, records)
    before = _before(job)
    for name, predictions in (("before", before), ("after", after)):
        if predictions is not None:
            write_results_csv(
                job.folder / f"results_{name}_training.csv",
                scored,
                predictions=predictions,
                scores=evaluation.scores[name],
            )
    verdict = judge_run(evaluation, after, records=scored, picked_on=_picked_on(job, records))
    figures = [f"{metric_label(name)}: {format_value(name, rate)}" for name, rate in extra.items()]
    for line in (f"{verdict.headline} {verdict.sentence}", *verdict.warnings, *figures):
        job.say(line)


def report(job: Job) -> None:
    """Writes the plots, report.html and the model card from what the other stages left."""
    records = load_splits(job.folder)
    after = read_predictions(job.folder / "predictions" / "after.jsonl")
    evaluation = _score(job, records, after)
    environment = json.loads((job.folder / "environment.json").read_text(encoding="utf-8"))
    inputs = ReportInputs(
        title=job.recipe.name,
        description=job.recipe.description,
        records=_scored_records(job, records),
        after=after,
        evaluation=evaluation,
        generate=job.recipe.generate,
        seed=job.recipe.seed,
        before=_before(job),
        training_records=[r for r in records if r.split == "train"],
        log=read_training_log(job.folder / "log.jsonl"),
        facts=[
            Fact(label, value, is_code=label == "Command") for label, value in environment.items()
        ],
        skipped=_read_skipped(job.folder),
        extra=_extra(job, evaluation, after),
        picked_on=_picked_on(job, records),
    )
    write_plots(job.folder / "plots", inputs)
    write_report(inputs, job.folder / "report.html")
    write_model_card(
        job.folder / "model",
        inputs,
        data=job.recipe.data.path,
        recipe=(job.folder / "recipe.yaml").read_text(encoding="utf-8"),
    )
    job.say(f"report: {job.folder / 'report.html'}")


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


def _scored_records(job: Job, records: Sequence[CaptionRecord]) -> list[CaptionRecord]:
    """The images of the scored split, or a seeded choice of `evaluate.max_images` of them."""
    chosen = select_split(records, job.recipe.evaluate.split)
    return choose_scored(chosen, job.recipe.evaluate.max_images, seed=job.recipe.seed)


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


def _score(job: Job, records: Sequence[CaptionRecord], after: Sequence[Prediction]) -> Evaluation:
    settings = job.recipe.evaluate
    return score_run(
        _scored_records(job, records),
        before=_before(job),
        after=after,
        training_records=[r for r in records if r.split == "train"],
        options=ScoringOptions(
            metrics=settings.metrics,
            split=settings.split,
            generate=job.recipe.generate,
            bootstrap_samples=settings.bootstrap_samples,
            seed=job.recipe.seed,
            max_references=settings.max_references,
        ),
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
