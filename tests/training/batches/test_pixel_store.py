"""Stored pixels equal decoded ones, whatever happens to the file or the images."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from captune.data import InlineDecoder
from captune.models import Captioner
from captune.recipe import Recipe
from captune.records import CaptionRecord, VisionInputs
from captune.training import train
from captune.training.batches import pixel_store
from captune.training.batches.feeding import Feed, tokenize_records
from captune.training.batches.pixel_store import PixelStore, open_store
from support.models.two_scales import TwoScaleCaptioner, as_family
from support.runs.same_weights import assert_same_weights, newest_checkpoint_file

PAIRS = [(0, 0), (0, 1), (1, 0), (2, 1)]


@pytest.fixture
def photos(tmp_path: Path) -> list[CaptionRecord]:
    """Return six JPEG files with a caption each."""
    rng = np.random.default_rng(0)
    records = []
    for number in range(6):
        path = tmp_path / f"{number}.jpg"
        Image.fromarray(rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(path)
        records.append(CaptionRecord(str(number), path, (f"a dog number {number}",)))
    return records


@pytest.fixture
def make_feed(make_recipe, make_captioner, photos) -> Callable[..., Feed]:
    """Return a function that builds a feed with a store in a folder, or without."""

    def make(folder: Path | None = None, **overrides: object) -> Feed:
        recipe: Recipe = make_recipe(**overrides)
        captioner: Captioner = make_captioner(recipe)
        data = tokenize_records(captioner, photos, recipe=recipe)
        feed = Feed(captioner, data, recipe, recipe.data.views)
        if folder is not None:
            feed.store = open_store(feed.stored_set("train"), folder, say=lambda _: None)
        return feed

    return make


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return the sources decoded from now on."""
    sources: list[object] = []
    real = InlineDecoder.decode

    def decode(self, source, use):
        sources.append(source)
        return real(self, source, use)

    monkeypatch.setattr(InlineDecoder, "decode", decode)
    return sources


def pixels(feed: Feed) -> torch.Tensor:
    inputs = feed.reader().read(PAIRS).inputs
    assert inputs is not None
    return inputs.pixel_values


@pytest.mark.parametrize("exact", [True, False])
def test_the_second_read_gives_the_same_pixels_without_decoding(
    tmp_path, make_feed, decoded, exact
) -> None:
    plain = pixels(make_feed(data__exact_pixels=exact))
    feed = make_feed(tmp_path, data__exact_pixels=exact)
    assert torch.equal(pixels(feed), plain)
    decoded.clear()
    assert torch.equal(pixels(feed), plain)
    assert decoded == []


def test_a_system_without_pwrite_stores_the_same_rows(tmp_path, make_feed, decoded, monkeypatch):
    with monkeypatch.context() as windows:
        windows.delattr(os, "pwrite")
        plain = pixels(make_feed(tmp_path))
    decoded.clear()
    assert torch.equal(pixels(make_feed(tmp_path)), plain)
    assert decoded == []


def test_an_image_with_one_stored_view_is_decoded_for_the_other(tmp_path, make_feed, decoded):
    feed = make_feed(tmp_path)
    feed.reader().read([(0, 1)])
    decoded.clear()
    assert torch.equal(pixels(feed), pixels(make_feed()))
    assert len(decoded) == 3 + 3


def test_another_feed_of_the_same_images_reuses_the_store(tmp_path, make_feed, decoded) -> None:
    expected = pixels(make_feed(tmp_path))
    decoded.clear()
    assert torch.equal(pixels(make_feed(tmp_path)), expected)
    assert decoded == []


@pytest.mark.parametrize(
    "changed",
    [{"data__exact_pixels": True}, {"data__views": ["original", "crop"]}, {"data__max_pixels": 99}],
)
def test_other_settings_do_not_reuse_the_store(tmp_path, make_feed, changed) -> None:
    pixels(make_feed(tmp_path))
    feed = make_feed(tmp_path, **changed)
    key = feed.store.key(feed.data.records[0])
    assert feed.store.read(0, 0, key=key) is None
    # The older one would be gigabytes that nobody reads.
    assert len(list((tmp_path / "pixel_store").iterdir())) == 1


def test_a_replaced_image_is_decoded_again(tmp_path, make_feed, photos, decoded) -> None:
    feed = make_feed(tmp_path)
    before = pixels(feed)
    Image.new("RGB", (120, 90), "red").save(photos[0].image)
    decoded.clear()
    after = pixels(feed)
    assert decoded == [photos[0].image]
    assert torch.equal(after, pixels(make_feed()))
    assert not torch.equal(after[0], before[0])
    assert torch.equal(after[2:], before[2:])


def test_a_deleted_image_fails_as_it_does_without_a_store(tmp_path, make_feed, photos) -> None:
    feed = make_feed(tmp_path)
    pixels(feed)
    photos[0].image.unlink()
    found = feed.reader().read(PAIRS)
    assert found.failures == {"0": "missing"}
    assert found.indices == [1, 2]


@pytest.mark.parametrize("damage", [b"\x00" * 64, b"\xff" * 64])
def test_a_damaged_row_is_decoded_again(tmp_path, make_feed, photos, decoded, damage) -> None:
    feed = make_feed(tmp_path)
    expected = pixels(feed)
    (file,) = (tmp_path / "pixel_store").glob("train-*.npy")
    with file.open("r+b") as opened:
        opened.seek(500)
        opened.write(damage)
    decoded.clear()
    assert torch.equal(pixels(make_feed(tmp_path)), expected)
    assert decoded == [photos[0].image]


def test_a_store_deleted_during_a_run_is_still_used_in_its_processes(tmp_path, make_feed, decoded):
    feed = make_feed(tmp_path)
    feed.reader().read([(0, 0)])
    shutil.rmtree(tmp_path / "pixel_store")
    plain = pixels(make_feed())
    assert torch.equal(pixels(feed), plain)
    decoded.clear()
    assert torch.equal(pixels(feed), plain)
    assert decoded == []


def test_a_truncated_file_is_rebuilt(tmp_path, make_feed) -> None:
    expected = pixels(make_feed(tmp_path))
    (file,) = (tmp_path / "pixel_store").glob("train-*.npy")
    os.truncate(file, 300)
    assert torch.equal(pixels(make_feed(tmp_path)), expected)


def test_worker_processes_fill_one_store(tmp_path, make_feed, decoded) -> None:
    feed = make_feed(tmp_path, data__num_workers=2)
    micros = [(0, 1), (2, 3), (4, 5)]
    first = [batch.vision_inputs for batch in feed.single_batches(micros) if batch is not None]
    here = make_feed(tmp_path)
    decoded.clear()
    again = [batch.vision_inputs for batch in here.single_batches(micros) if batch is not None]
    assert decoded == []
    for ours, theirs in zip(first, again, strict=True):
        assert torch.equal(ours.pixel_values, theirs.pixel_values)


@pytest.mark.slow
def test_stored_pixels_are_read_without_worker_processes(tmp_path, make_feed, photos) -> None:
    feed = make_feed(tmp_path, data__num_workers=None)
    micros = [(number % 6,) for number in range(12)]

    def count_workers() -> int:
        batches = feed.single_batches(micros)
        next(batches)
        return len(multiprocessing.active_children())

    others = len(multiprocessing.active_children())
    assert count_workers() > others
    for _ in feed.single_batches(micros):
        pass
    gc.collect()
    assert count_workers() == others
    Image.new("RGB", (90, 120), "red").save(photos[0].image)
    for ours, plain in zip(
        feed.single_batches(micros), make_feed().single_batches(micros), strict=True
    ):
        assert torch.equal(ours.vision_inputs.pixel_values, plain.vision_inputs.pixel_values)


def test_bytes_and_archive_members_have_their_own_keys(tmp_path) -> None:
    store = PixelStore(tmp_path / "unused", 1)
    records = [
        CaptionRecord("a", b"1"),
        CaptionRecord("a", b"2"),
        CaptionRecord("b", b"1"),
        CaptionRecord("a", tmp_path / "missing"),
    ]
    assert len({store.key(record) for record in records}) == 4


def test_a_store_is_pickled_as_a_path(tmp_path, make_feed) -> None:
    feed = make_feed(tmp_path)
    expected = pixels(feed)
    again = pickle.loads(pickle.dumps(feed.store))
    assert len(pickle.dumps(feed.store)) < 1_000
    found = again.read(0, 0, key=again.key(feed.data.records[0]))
    assert torch.equal(found.pixel_values[0], expected[0])


def test_a_full_disk_prints_one_line_and_disables_the_store(
    tmp_path, make_feed, monkeypatch
) -> None:
    free = 2 * 12 * 3 * 64 * 64 - 1
    monkeypatch.setattr(
        pixel_store.shutil, "disk_usage", lambda _: type("Usage", (), {"free": free})
    )
    lines: list[str] = []
    assert open_store(make_feed().stored_set("train"), tmp_path, say=lines.append) is None
    (line,) = lines
    assert line.startswith("train: resized pixels of 12 images (147.5 kB) do not fit into half of")
    assert not (tmp_path / "pixel_store").exists()


def test_a_family_with_its_own_inputs_has_no_store(tmp_path, make_feed) -> None:
    feed = make_feed(model__size="vit-gpt2-tiny")
    feed.captioner = as_family(TwoScaleCaptioner, feed.captioner)
    assert open_store(feed.stored_set("train"), tmp_path, say=lambda _: None) is None


class Stopped(Exception):
    pass


def stop_after(calls: int, captioner: Captioner) -> Captioner:
    """Let the captioner's loss fail after some calls, as a kill within an epoch would."""
    real, left = captioner.loss, iter(range(calls))

    def loss(*args):
        if next(left, None) is None:
            raise Stopped
        return real(*args)

    captioner.loss = loss
    return captioner


@pytest.mark.slow
def test_a_run_ends_with_the_same_bits_with_and_without_a_store_and_resumed(
    tmp_path, photos, make_recipe, make_captioner
) -> None:
    splits, ends = (photos, photos[:2]), {}
    for name in ("off", "stored", "resumed", "resumed without its store"):
        setting = "off" if name == "off" else "auto"
        recipe = make_recipe(data__pixel_store=setting, train__epochs=3, train__save_every=1)
        folder = tmp_path / name
        resume = name.startswith("resumed")
        if resume:
            with pytest.raises(Stopped):
                train(
                    stop_after(7, make_captioner(recipe)),
                    splits,
                    recipe=recipe,
                    run_folder=folder,
                )
        if name == "resumed without its store":
            shutil.rmtree(folder / "pixel_store")
        captioner = make_captioner(recipe)
        train(captioner, splits, recipe=recipe, run_folder=folder, resume=resume)
        ends[name] = newest_checkpoint_file(folder)
    for name, end in ends.items():
        assert_same_weights(end, ends["off"])
        assert (tmp_path / name / "pixel_store").is_dir() is (name != "off")


def test_a_run_with_one_epoch_stores_nothing(tmp_path, photos, make_recipe, make_captioner) -> None:
    recipe = make_recipe(train__epochs=1)
    train(make_captioner(recipe), (photos, photos[:2]), recipe=recipe, run_folder=tmp_path / "run")
    assert not (tmp_path / "run/pixel_store").exists()


def test_rows_do_not_change_after_they_are_read(tmp_path, make_feed) -> None:
    feed = make_feed(tmp_path)
    key = feed.store.key(feed.data.records[0])
    shown = VisionInputs.of_pixels(torch.full((1, 3, 64, 64), 7, dtype=torch.uint8))
    feed.store.write(0, 0, inputs=shown, key=key)
    found = feed.store.read(0, 0, key=key)
    other = VisionInputs.of_pixels(torch.full((1, 3, 64, 64), 9, dtype=torch.uint8))
    feed.store.write(0, 0, inputs=other, key=key)
    assert torch.equal(found.pixel_values, shown.pixel_values)
