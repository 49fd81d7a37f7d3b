"""Parts that several stages share: scored images, their captions, and the compared systems."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from captune.data import (
    CaptionTexts,
    SkippedImage,
    caption_is_true,
    is_shapes_id,
    pick_split,
    select_split,
)
from captune.errors import DataError
from captune.evaluation import (
    CONSTANT_CAPTION,
    Evaluation,
    RunToScore,
    ScoringOptions,
    choose_scored,
    predict,
)
from captune.hardware import choose_hardware
from captune.inference import ImageCaptioner, read_predictions
from captune.models import Captioner, build_captioner
from captune.pipeline.stages.job import Job
from captune.progress import no_progress, show_progress
from captune.recipe import (
    Recipe,
)
from captune.records import CaptionRecord, Prediction
from captune.storage import read_json_object
from captune.suggest import format_count


def scored_records(recipe: Recipe, records: Sequence[CaptionRecord]) -> list[CaptionRecord]:
    """Return the images of the scored split, or a seeded draw of `evaluate.max_images`."""
    chosen = select_split(records, recipe.evaluate.split, where="evaluate.split")
    return choose_scored(chosen, recipe.evaluate.max_images, seed=recipe.seed)


def build_from_recipe(job: Job, records: Sequence[CaptionRecord]) -> Captioner:
    """Build the model as the recipe describes it, before any training."""
    captions = CaptionTexts(pick_split(records, "train"))
    return build_captioner(job.recipe.model, captions, seed=job.recipe.seed)


def predict_scored(
    job: Job, captioner: Captioner, *, records: Sequence[CaptionRecord]
) -> list[Prediction]:
    """Caption the scored images; a few unreadable files are reported and skipped.

    Processes share the batches that one process would form, so the captions do not depend on
    their number. Every process gets all captions, in the order of the records.

    Raises:
        DataError: Many images can no longer be read.
    """
    hardware = choose_hardware(job.recipe.train.device, job.recipe.train.precision)
    captioner.move_to(hardware.device)
    size = job.recipe.evaluate.batch_size
    batches = [records[at : at + size] for at in range(0, len(records), size)]
    own = [record for _, batch in job.team.own(batches) for record in batch]
    places = {record.image_id: place for place, record in enumerate(records)}
    done: list[tuple[int, Prediction | SkippedImage]] = []
    shown = show_progress("captioning", len(own), say=job.say)
    with shown if job.team.leads else nullcontext(no_progress()) as progress:

        def count(found: Prediction | SkippedImage) -> None:
            done.append((places[found.image_id], found))
            progress.advance()

        predict(
            ImageCaptioner(captioner, hardware),
            own,
            config=job.recipe.generate,
            batch_size=size,
            decode=job.recipe.data.decode,
            progress=count,
        )
    everything = job.team.gather_in_order(done)
    lost = [found for found in everything if isinstance(found, SkippedImage)]
    for image in lost:
        job.say(f"{image.file}: {image.reason}; neither captioned nor scored")
    if job.team.leads:
        allowed = job.recipe.data.max_bad_fraction
        _refuse_many_lost(lost, len(records), max_bad_fraction=allowed)
    return [found for found in everything if isinstance(found, Prediction)]


def _refuse_many_lost(
    lost: Sequence[SkippedImage], num_images: int, *, max_bad_fraction: float
) -> None:
    """Refuse to score what is left where many images have disappeared since `prepare`.

    Raises:
        DataError: A larger share of the images is unreadable.
    """
    if len(lost) > max_bad_fraction * num_images:
        raise DataError(
            f"{len(lost)} of {format_count(num_images, 'image')} to score can no longer be read,"
            f" more than data.max_bad_fraction {max_bad_fraction:g} allows",
            where=f"the first: {lost[0].file} ({lost[0].reason})",
            fix="make them readable again (is a disk or a network drive missing?), then run the"
            " same command again: it resumes with this stage",
        )


def read_spare(job: Job, name: str) -> dict[str, Any]:
    """Return a file that a stage can do without; empty if it is missing or damaged."""
    path = job.folder / name
    if not path.is_file():
        return {}
    try:
        return read_json_object(path, fix="")
    except DataError as error:
        job.say(f"without {name}: {error.what}")
        return {}


def read_step(job: Job, name: str) -> int | None:
    """Return the number of the last or the best step; `None` if the run does not record it."""
    step = read_spare(job, "train_metrics.json").get(name)
    return step if isinstance(step, int) else None


def read_baseline(job: Job) -> list[Prediction] | None:
    """Read the captions from before training; `None` if there was no baseline."""
    path = job.folder / "predictions" / "before.jsonl"
    is_there = path.is_symlink() or path.exists()
    return read_predictions(path) if is_there else None


def run_to_score(
    job: Job, records: Sequence[CaptionRecord], *, after: Sequence[Prediction]
) -> RunToScore:
    """Gather everything that a score of this run depends on."""
    return RunToScore(
        scored_records(job.recipe, records),
        before=read_baseline(job),
        after=after,
        training_records=[r for r in records if r.split == "train"],
        options=ScoringOptions.from_recipe(job.recipe),
    )


def picked_on(job: Job, records: Sequence[CaptionRecord]) -> str | None:
    """Return the split that picked the checkpoint; `None` if none did."""
    picks = job.recipe.train.best_metric != "last" and any(r.split == "val" for r in records)
    return "val" if picks else None


def truth_rates(
    job: Job, evaluation: Evaluation, *, after: Sequence[Prediction]
) -> dict[str, float]:
    """Return `truth_rate` per system, 0..1, on the built-in set, whose captions can be checked."""
    if not after or not all(is_shapes_id(p.image_id) for p in after):
        return {}
    constant = [(p.image_id, evaluation.constant_caption) for p in after]
    rates = {
        "truth_rate": _truth_rate([(p.image_id, p.caption) for p in after]),
        f"truth_rate_{CONSTANT_CAPTION}": _truth_rate(constant),
    }
    before = read_baseline(job)
    if before is not None:
        rates["truth_rate_before"] = _truth_rate([(p.image_id, p.caption) for p in before])
    return rates


def _truth_rate(captions: Sequence[tuple[str, str]]) -> float:
    return sum(caption_is_true(image_id, text) for image_id, text in captions) / len(captions)
