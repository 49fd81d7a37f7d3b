"""`captune run --dry-run`: estimate steps, time and memory without running; writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from captune.data import count_by_split, load_splits, select_split
from captune.models import build_captioner
from captune.pipeline.plan import Plan, RunOptions, plan_run
from captune.pipeline.stages import scored_records
from captune.pipeline.stages.prepare import read_data, split_data
from captune.progress import Say, print_line
from captune.recipe import Recipe
from captune.records import SPLITS, CaptionRecord
from captune.suggest import format_count, format_memory
from captune.training import MemoryPlan, TrainingEstimate, estimate_training


def dry_run(
    recipe: Recipe | str | Path,
    *,
    only: Sequence[str] = (),
    out: str | Path | None = None,
    options: RunOptions | None = None,
    memory: int | None = None,
    say: Say = print_line,
) -> None:
    """Report what `run` with the same arguments would do; measures passes, trains nothing.

    Args:
        recipe: A recipe, a shipped name, or a YAML file.
        only: Names of the stages to run; empty: all.
        out: The run's folder; `None`: runs/NAME.
        options: Whether to resume, to start from a stage, or to start again.
        memory: Bytes that the training may take; proposals are made for it. `None`: what the
            device has.
        say: Called with each progress message.

    Raises:
        CaptuneError: A recipe, data set or model that cannot be used.
    """
    plan = plan_run(recipe, only=only, out=out, options=options or RunOptions())
    recipe, folder, due = plan.recipe, plan.folder, plan.due
    say(f"folder: {folder}{'' if folder.exists() else ' (new)'}")
    for name in plan.stages:
        say(f"{name}: {_describe(name, plan)}")
    if not due:
        say("nothing to do")
        return
    records: Sequence[CaptionRecord]
    if "prepare" in due:
        records = split_data(recipe, read_data(recipe, say=say))
    else:
        records = load_splits(folder)
    counts = count_by_split(records)
    images = ", ".join(f"{split} {counts.get(split, 0):,}" for split in SPLITS)
    captions = sum(len(record.captions) for record in records)
    say(f"images: {images}; {format_count(captions, 'caption')} (not checked for broken images)")
    if "train" in due:
        _estimate(recipe, records, folder, memory=memory, say=say)
    if "evaluate" in due or ("baseline" in due and recipe.evaluate.baseline):
        is_wanted = {"baseline": recipe.evaluate.baseline, "evaluate": True}
        times = {"baseline": "before", "evaluate": "after"}
        when = " and ".join(times[name] for name in due if is_wanted.get(name))
        scored = len(scored_records(recipe, records))
        say(
            f"captions to generate: {format_count(scored, 'image')} of"
            f" {recipe.evaluate.split} {when} training"
        )


def _describe(name: str, plan: Plan) -> str:
    if name == "baseline" and not plan.recipe.evaluate.baseline:
        return "off (evaluate.baseline: false)"
    if name not in plan.due:
        return f"already done in {plan.book.seconds(name):.0f} s, would be skipped"
    if plan.book.ran_before(name):
        return "would run again; its earlier files would move to previous/"
    return "would run"


def _estimate(
    recipe: Recipe,
    records: Sequence[CaptionRecord],
    folder: Path,
    *,
    memory: int | None,
    say: Say,
) -> None:
    train_records = select_split(records, "train")
    captions = (caption for record in train_records for caption in record.captions)
    captioner = build_captioner(recipe.model, captions, seed=recipe.seed)
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    found = estimate_training(captioner, train_records, recipe=recipe, folder=existing)
    say(f"training on {found.hardware.describe()}; {found.parameters}")
    say(
        f"steps: {found.steps}, {format_count(recipe.train.global_batch_size, 'image')} each, of"
        f" {format_count(found.images, 'image')}"
    )
    for warning in found.doubts:
        say(warning)
    # Each line as soon as it is known: timing a large model takes minutes on a CPU.
    plan = found.measure_memory()
    say(f"memory: {plan.describe()}")
    _propose(recipe, found, plan, memory=memory, say=say)
    time = found.measure_time(plan, memory=memory)
    encoding = ""
    if time.encode_seconds:
        encoding = f", {_duration(time.encode_seconds)} of it to encode images once"
    say(
        f"training time: about {_duration(time.seconds)}{encoding}, without validations;"
        f" {time.step_seconds:.3g} s per step"
    )


def _propose(
    recipe: Recipe, found: TrainingEstimate, plan: MemoryPlan, *, memory: int | None, say: Say
) -> None:
    """Report what fits into the memory given; by itself, only if the device has too little."""
    limit = memory or found.hardware.memory_bytes
    if not limit or (memory is None and plan.peak <= limit):
        return
    size = plan.largest_fit(limit, global_batch_size=recipe.train.global_batch_size)
    if plan.peak <= limit:
        more = ""
        if size > recipe.train.micro_batch_size:
            peak = format_memory(plan.peak_of(size))
            more = f"; train.micro_batch_size up to {size} does too ({peak})"
        say(f"fits into {format_memory(limit)}{more}")
        return
    say(f"warning: does not fit into {format_memory(limit)}")
    if size:
        say(f"  with --set train.micro_batch_size={size}: {format_memory(plan.peak_of(size))}")
    saving, fit = found.measure_checkpointing(plan), 0
    if saving is not None:
        fit = saving.largest_fit(limit, global_batch_size=recipe.train.global_batch_size)
    if saving is not None and fit:
        say(
            f"  with --set train.gradient_checkpointing=true --set train.micro_batch_size={fit}:"
            f" {format_memory(saving.peak_of(fit))}, about 30 % more time"
        )
    if not size and not fit:
        say("  not even one image fits: freeze more with model.freeze, or use a smaller model")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
