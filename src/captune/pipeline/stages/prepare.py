"""The stage `prepare`: read, split and check the records, and save them for later stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from captune.data import (
    CaptionTexts,
    DataCheck,
    DecodeOptions,
    LoadedData,
    add_round_trip,
    assign_splits,
    check_data,
    choose_kept,
    count_by_split,
    load_options,
    load_records,
    measure_round_trip,
    pick_records,
    pick_split,
    raise_when_too_many_bad,
    refuse_lost_captions,
    save_skipped,
    save_splits,
    select_split,
    take_fraction,
)
from captune.evaluation import render_data_check
from captune.models import caption_reader, choose_tokenizer, token_counter
from captune.pipeline.kept_preparation import KeptPreparation
from captune.pipeline.stages.job import Job
from captune.progress import Say, show_progress
from captune.recipe import Recipe
from captune.records import CaptionRecord
from captune.storage import write_text


def prepare(job: Job) -> None:
    """Read, check and split the data; broken images are listed and skipped.

    Writes splits/, splits.json, data_check.json, data_check.html and skipped_images.jsonl into the
    run's folder.

    Raises:
        DataError: There is no usable data, too many images are broken, or the tokenizer cannot
            write the captions.
    """
    # Read first: data that changes from here on is prepared again next time.
    kept = KeptPreparation.of(job.recipe)
    if kept is not None and kept.restore(job.folder, say=job.say):
        return
    loaded, check, lines = _prepare_again(job)
    if kept is not None:
        kept.keep(job.folder, loaded=loaded, check=check, lines=lines, say=job.say)


def _prepare_again(job: Job) -> tuple[LoadedData, DataCheck, list[str]]:
    """Prepare, and return the data, its check and the messages about both."""
    recipe, folder, say = job.recipe, job.folder, job.say
    data = recipe.data
    loaded = read_data(recipe, say=say)
    # Splits are drawn first, so that the check finds images that are in two of them.
    records = split_data(recipe, loaded)
    check = _check_records(recipe, loaded, records, say=say)
    write_text(folder / "data_check.json", check.to_json())
    write_text(folder / "data_check.html", render_data_check(check, report="report.html"))
    skipped = (*loaded.skipped, *check.unreadable)
    save_skipped(skipped, folder / "skipped_images.jsonl")
    broken = [image for image in skipped if image.reason != "no_caption"]
    raise_when_too_many_bad(
        broken,
        num_images=len(loaded.records) + len(loaded.skipped),
        max_bad_fraction=data.max_bad_fraction,
    )
    lines = [f"data: {problem.text}" for problem in check.problems]
    for line in lines:
        say(line)
    records = _drop_unreadable(records, check)
    given = set(count_by_split(loaded.records)) != {None}
    seed = None if given and not loaded.draws_rest else recipe.seed
    save_splits(records, folder, seed=seed, by=data.split_by)
    return loaded, check, [*loaded.notes, *lines]


def _check_records(
    recipe: Recipe, loaded: LoadedData, records: Sequence[CaptionRecord], *, say: Say
) -> DataCheck:
    """Check the images and captions that are used.

    Raises:
        DataError: The tokenizer cannot write the captions.
    """
    data = recipe.data
    if not (recipe.model.tokenizer or recipe.model.decoder or recipe.model.checkpoint):
        # Training a tokenizer on no caption would raise a less helpful error.
        select_split(records, "train")
    tokenizer = choose_tokenizer(recipe.model, CaptionTexts(pick_split(records, "train")))
    reader = caption_reader(tokenizer, lower_case=data.lower_case)
    trip = measure_round_trip(CaptionTexts(records), reader)
    refuse_lost_captions(trip, where="model.tokenizer")
    with show_progress("reading images", len(records), say=say) as progress:
        check = check_data(
            replace(loaded, records=records),
            count_tokens=token_counter(tokenizer, lower_case=data.lower_case),
            max_caption_tokens=data.max_caption_tokens,
            decoding=DecodeOptions(data.decode, data.max_pixels, data.num_workers or None),
            kept=choose_kept(loaded, say=say),
            report_progress=progress.move_to,
        )
    return add_round_trip(check, trip)


def read_data(recipe: Recipe, *, say: Say) -> LoadedData:
    """Read the recipe's records and report the notes of their source."""
    loaded = load_records(recipe.data.path, load_options(recipe.data))
    for note in loaded.notes:
        say(note)
    return loaded


def _drop_unreadable(records: Sequence[CaptionRecord], check: DataCheck) -> Sequence[CaptionRecord]:
    unreadable = {image.image_id for image in check.unreadable}
    if not unreadable:
        return records
    kept = [n for n, record in enumerate(records) if record.image_id not in unreadable]
    return pick_records(records, np.array(kept, np.int64))


def split_data(recipe: Recipe, data: LoadedData) -> Sequence[CaptionRecord]:
    """Return the share of the records that is used, with given or drawn splits."""
    shares = recipe.data.split_fractions
    split = assign_splits(
        data.records,
        fractions=(shares.train, shares.val, shares.test),
        seed=recipe.seed,
        by=recipe.data.split_by,
        draw_rest=data.draws_rest,
    )
    return take_fraction(split, recipe.data.fraction, seed=recipe.seed)
