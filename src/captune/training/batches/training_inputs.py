"""The inputs of a training, built before its first step: tokens, views and cached features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from captune.hardware import Hardware
from captune.models import Captioner
from captune.progress import show_progress
from captune.recipe import Recipe, View
from captune.records import CaptionRecord
from captune.suggest import format_bytes, format_count
from captune.training.batches.features import (
    CacheFileError,
    FeatureCache,
    build_feature_cache,
    cache_key,
    choose_storage,
    count_feature_bytes,
)
from captune.training.batches.feeding import Feed, tokenize_records
from captune.training.batches.pixel_store import PixelStore, open_store
from captune.training.team import Launch


def make_feeds(
    captioner: Captioner,
    records: tuple[Sequence[CaptionRecord], Sequence[CaptionRecord]],
    *,
    recipe: Recipe,
    launch: Launch,
    hardware: Hardware,
    say: Callable[[str], None],
) -> tuple[Feed, Feed]:
    """Return the training feed, with all views, and the validation feed, with original images.

    Both get cached features if a frozen vision part makes that worthwhile; in a file, which is in
    the accelerator's project folder, each process encodes its share.

    Args:
        captioner: The model on its device, with its parts frozen.
        records: Training and validation images.
        recipe: All settings.
        launch: The processes of the run.
        hardware: Device and precision.
        say: Called with each progress message.

    Raises:
        ImageError: An image that `prepare` could read is no longer readable.
        OutputError: The features cannot be written.
    """
    original: tuple[View, ...] = ("original",)
    feeds = []
    for name, subset, views in zip(
        ("train", "val"), records, (recipe.data.views, original), strict=True
    ):
        data = tokenize_records(captioner, subset, recipe=recipe)
        feed = Feed(captioner, data, recipe, views)
        num_captions = data.token_ids.num_captions
        say(
            f"{name}: {format_count(len(data.records), 'image')},"
            f" {format_count(num_captions, 'caption')}"
        )
        if data.num_cut:
            say(
                f"{name}: {format_count(data.num_cut, 'caption')} truncated to"
                f" {recipe.data.max_caption_tokens} tokens (data.max_caption_tokens)"
            )
        # MPS shares its memory with the CPU, so pinning would not help.
        feed.pin_memory = hardware.device.type in ("cuda", "xpu")
        feed.cache = _cache(feed, name, launch=launch, hardware=hardware, say=say)
        if feed.cache is None:
            feed.store = _store(feed, name, launch=launch, say=say)
        feeds.append(feed)
    return feeds[0], feeds[1]


def _cache(
    feed: Feed,
    name: str,
    *,
    launch: Launch,
    hardware: Hardware,
    say: Callable[[str], None],
) -> FeatureCache | None:
    records, views, settings = feed.data.records, feed.views, feed.recipe.train
    run_folder = Path(launch.accelerator.project_dir)
    storage = choose_storage(
        settings.feature_cache,
        feed.captioner,
        num_rows=len(records) * len(views),
        epochs=settings.epochs,
        folder=run_folder,
    )
    # Free space differs by machine and moment, but all processes must do the same.
    storage = launch.team.hear_leader(storage)
    if storage == "off" or not records:
        _report_no_room(feed, name, say=say)
        return None
    feed.captioner.eval_mode()
    say(
        f"{name}: frozen vision features of {format_count(len(records), 'image')} x"
        f" {format_count(len(views), 'view')}, {storage}"
    )

    def encode(pairs: Sequence[tuple[int, int]]) -> Iterator[torch.Tensor]:
        batches = feed.encode_views(pairs, hardware)
        if not launch.team.leads:
            yield from batches
            return
        with show_progress(f"encoding {name}", len(pairs), say=say) as progress:
            for batch in batches:
                yield batch
                progress.advance(len(batch))

    file = None
    if storage == "disk":
        exact_pixels = feed.recipe.data.exact_pixels
        key = cache_key(feed.captioner, records, views=views, exact_pixels=exact_pixels)
        # One process decides: the images may change while the others hash them.
        key = launch.team.hear_leader(key)
        file = run_folder / "feature_cache" / f"{name}-{key}.npy"
        _report_old_caches(file, name, say=say)
    try:
        return build_feature_cache(
            encode,
            num_images=len(records),
            num_views=len(views),
            file=file,
            team=launch.team,
        )
    except CacheFileError as error:
        say(f"{name}: features are not cached ({error.what}): every epoch encodes its images")
        return None


def _report_no_room(feed: Feed, name: str, *, say: Callable[[str], None]) -> None:
    """Report features that `auto` would cache if there were room for them."""
    settings, num_images = feed.recipe.train, len(feed.data.records)
    is_wanted = settings.feature_cache == "auto" and settings.epochs > 1
    if is_wanted and feed.captioner.frozen_stages and num_images:
        size = count_feature_bytes(feed.captioner, num_images * len(feed.views))
        say(
            f"{name}: frozen vision features of {format_count(num_images, 'image')}"
            f" ({size / 1e9:,.1f} GB) fit neither into half of the free disk nor into half of the"
            " free memory: every epoch encodes its images"
        )


def _store(
    feed: Feed, name: str, *, launch: Launch, say: Callable[[str], None]
) -> PixelStore | None:
    recipe, records = feed.recipe, feed.data.records
    if recipe.data.pixel_store == "off" or recipe.train.epochs <= 1 or not records:
        return None
    run_folder = Path(launch.accelerator.project_dir)
    store = open_store(feed.stored_set(name), run_folder, say=say) if launch.team.leads else None
    # One process creates the file, or decides that there is none.
    return launch.team.hear_leader(store)


def _report_old_caches(file: Path, name: str, *, say: Callable[[str], None]) -> None:
    """Report caches of other weights or images, which are unused and may take gigabytes."""
    old = [path for path in file.parent.glob(f"{name}-*.npy") if path != file]
    if old:
        size = format_bytes(sum(path.stat().st_size for path in old))
        say(
            f"{name}: {len(old)} older feature caches (other weights, images or views; {size})"
            f" are in {file.parent}; delete them if you need the space"
        )
