"""Cached features train like decoded images, in less time and with one encoding pass."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
from functools import partial

import numpy as np
import pytest
import torch

from captune.errors import ModelError
from captune.hardware import choose_hardware
from captune.records import VisionInputs
from captune.training import train
from captune.training.batches.features import (
    FeatureCache,
    HalvingEncoder,
    build_feature_cache,
    cache_key,
    choose_storage,
    to_host,
)
from captune.training.batches.training_inputs import make_feeds
from captune.training.setup import make_accelerator
from captune.training.team import Launch, Team
from support.cpu_graphs import CpuRecorder


def losses(folder) -> list[float]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


@pytest.mark.slow
@pytest.mark.parametrize("freeze", ["vision", "vision.first-1"])
def test_cached_and_decoded_training_have_the_same_losses(
    tmp_path, shapes, make_recipe, make_captioner, freeze
) -> None:
    curves = {}
    for storage in ("off", "memory", "disk"):
        recipe = make_recipe(model__freeze=[freeze], train__feature_cache=storage)
        folder = tmp_path / storage
        train(make_captioner(recipe), shapes, recipe=recipe, run_folder=folder, say=lambda _: None)
        curves[storage] = losses(folder)
    # float16 keeps 11 bits of a feature.
    assert curves["memory"] == pytest.approx(curves["off"], abs=5e-3)
    assert curves["disk"] == curves["memory"]


def test_a_second_run_with_the_same_weights_reads_the_file_instead_of_encoding(
    tmp_path, shapes, make_recipe, make_captioner
) -> None:
    recipe = make_recipe(model__freeze=["vision"], train__feature_cache="disk")
    lines: list[str] = []
    captioner = make_captioner(recipe)
    hardware = choose_hardware("cpu", "fp32")
    launch = Launch(make_accelerator(recipe, tmp_path), Team())
    make = partial(make_feeds, recipe=recipe, launch=launch, hardware=hardware, say=lines.append)
    first, _ = make(captioner, shapes)
    files = sorted((tmp_path / "feature_cache").iterdir())
    times = [f.stat().st_mtime_ns for f in files]
    again, _ = make(captioner, shapes)
    assert [f.stat().st_mtime_ns for f in files] == times
    assert np.array_equal(first.cache.array, again.cache.array)
    assert first.cache.array.shape[0] == 24 * 2


def test_the_key_depends_on_weights_images_and_views(shapes, make_recipe, make_captioner) -> None:
    recipe = make_recipe(model__freeze=["vision"])
    captioner = make_captioner(recipe)
    key = cache_key(captioner, shapes[0], views=("original",))
    assert key == cache_key(captioner, shapes[0], views=("original",))
    assert key != cache_key(captioner, shapes[0], views=("flip",))
    assert key != cache_key(captioner, shapes[1], views=("original",))
    assert key != cache_key(captioner, shapes[0], views=("original",), exact_pixels=False)
    with torch.no_grad():
        captioner.model.vision_model.embeddings.class_embedding.add_(1e-3)
    assert key != cache_key(captioner, shapes[0], views=("original",))


def test_auto_caches_only_if_it_is_worthwhile(tmp_path, make_recipe, make_captioner) -> None:
    frozen = make_captioner(make_recipe(model__freeze=["vision"]))
    free = make_captioner(make_recipe())

    def choose(captioner, *, epochs, setting="auto", rows=100):
        return choose_storage(setting, captioner, num_rows=rows, epochs=epochs, folder=tmp_path)

    assert choose(frozen, epochs=3) == "disk"
    assert choose(frozen, epochs=1) == "off"
    assert choose(free, epochs=3) == "off"
    assert choose(free, epochs=3, setting="memory") == "off"
    assert choose(frozen, epochs=3, setting="off") == "off"
    assert choose(frozen, epochs=3, rows=10**12) == "off"


def test_features_too_large_for_float16_are_clamped_not_infinite(tmp_path, make_recipe) -> None:
    cache = build_feature_cache(
        lambda pairs: [torch.full((len(pairs), 2), 1e6)],
        num_images=2,
        num_views=1,
        file=None,
        team=Team(),
    )
    assert np.isfinite(cache.array).all()
    assert cache.rows([1], [0]).dtype == torch.float32


@pytest.mark.parametrize("copies_ahead", [False, True])
def test_a_device_computes_the_next_features_while_the_host_writes(copies_ahead) -> None:
    log, recorder = [], CpuRecorder()

    def compute():
        for number in range(3):
            log.append(f"compute {number}")
            yield torch.full((2, 3), 1e5 * number)

    for number, rows in enumerate(
        to_host(compute(), recorder_of=lambda _: recorder if copies_ahead else None)
    ):
        log.append(f"write {number}")
        assert rows.dtype == np.float16
        assert rows.tolist() == [[min(1e5 * number, 65504.0)] * 3] * 2
    if copies_ahead:
        # Each copy but the last was waited for after the next batch had been queued.
        assert recorder.lags == [1, 1, 0]
        assert log == ["compute 0", "compute 1", "write 0", "compute 2", "write 1", "write 2"]
    else:
        assert log == ["compute 0", "write 0", "compute 1", "write 1", "compute 2", "write 2"]


def test_features_for_an_accelerator_keep_float16_and_are_widened_there(
    make_recipe, make_captioner, monkeypatch
) -> None:
    pinned = []
    # Without an accelerator, torch cannot pin memory.
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: (pinned.append(self), self)[1])
    array = np.arange(12, dtype=np.float16).reshape(4, 3)
    cache = FeatureCache(array, num_views=2)
    rows = cache.rows([1, 0], [1, 0], pin_memory=True)
    assert rows.dtype == torch.float16
    assert rows.tolist() == [[9.0, 10.0, 11.0], [0.0, 1.0, 2.0]]
    assert len(pinned) == 1
    assert cache.rows([1], [1]).dtype == torch.float32
    captioner = make_captioner(make_recipe())
    states = torch.ones(1, 2, 3, dtype=torch.float16)
    captioner.frozen_stages = len(captioner.vision_stages())
    assert captioner.encode_trained(states).dtype == torch.float32


def test_files_left_by_a_killed_encoding_are_deleted(tmp_path, make_recipe) -> None:
    own, other = (tmp_path / f".x.npy.{host}.99" for host in (socket.gethostname(), "elsewhere"))
    for leftover in (own, other):
        leftover.write_bytes(b"half")
    cache = build_feature_cache(
        lambda pairs: [torch.ones(len(pairs), 2)],
        num_images=3,
        num_views=2,
        file=tmp_path / "x.npy",
        team=Team(),
    )
    assert cache.array.shape == (6, 2)
    assert not own.exists()
    assert other.exists(), "another machine may still be working"


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["auto", "disk"])
def test_a_cache_that_does_not_fit_the_disk_is_skipped_with_a_line(
    tmp_path, shapes, make_recipe, make_captioner, monkeypatch, storage
) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    recipe = make_recipe(model__freeze=["vision"], train__feature_cache=storage)
    lines: list[str] = []
    monkeypatch.setattr(os, "posix_fallocate", refuse)
    captioner = make_captioner(recipe)
    train(captioner, shapes, recipe=recipe, run_folder=tmp_path / "full", say=lines.append)
    (line,) = (line for line in lines if line.startswith("train: features are not cached"))
    assert "No space left on device" in line
    monkeypatch.undo()
    off = make_recipe(model__freeze=["vision"], train__feature_cache="off")
    train(make_captioner(off), shapes, recipe=off, run_folder=tmp_path / "off", say=lines.append)
    assert losses(tmp_path / "full") == losses(tmp_path / "off")


def test_features_without_room_on_disk_and_in_memory_are_reported(
    tmp_path, shapes, make_recipe, make_captioner, monkeypatch
) -> None:
    recipe = make_recipe(model__freeze=["vision"])
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    monkeypatch.setattr(os, "sysconf", lambda _: 10)
    lines: list[str] = []
    launch = Launch(make_accelerator(recipe, tmp_path), Team())
    make_feeds(
        make_captioner(recipe), shapes, recipe=recipe, launch=launch,
        hardware=choose_hardware("cpu", "fp32"), say=lines.append,
    )  # fmt: skip
    assert [line for line in lines if "frozen vision features" in line] == [
        "train: frozen vision features of 24 images (0.0 GB) fit neither into half of the free"
        " disk nor into half of the free memory: every epoch encodes its images",
        "val: frozen vision features of 6 images (0.0 GB) fit neither into half of the free disk"
        " nor into half of the free memory: every epoch encodes its images",
    ]


def test_an_image_damaged_since_the_preparation_is_named(
    tmp_path, shapes, make_recipe, make_captioner
) -> None:
    from dataclasses import replace

    from captune.errors import ImageError

    recipe = make_recipe(model__freeze=["vision"], train__feature_cache="memory")
    broken = [*shapes[0][:3], replace(shapes[0][3], image=b"GIF89a nothing")]
    with pytest.raises(ImageError, match=r"truncated|not_an_image|corrupt") as error:
        train(
            make_captioner(recipe),
            (broken, []),
            recipe=recipe,
            run_folder=tmp_path,
            say=lambda _: None,
        )
    assert shapes[0][3].image_id in error.value.where


class Device:
    """A device whose memory holds a few images, as `encode` of a `HalvingEncoder`."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sizes: list[int] = []

    def __call__(self, inputs: VisionInputs) -> torch.Tensor:
        self.sizes.append(len(inputs))
        if len(inputs) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inputs.pixel_values * 2


def test_a_batch_that_does_not_fit_is_encoded_in_parts_and_so_are_those_after_it() -> None:
    device = Device(room=3)
    encoder = HalvingEncoder(device, torch.device("cpu"), 8)
    pixels = torch.arange(8.0).reshape(8, 1, 1, 1)
    for _ in range(2):
        features = encoder(VisionInputs.of_pixels(pixels))
        assert torch.equal(features, pixels * 2)
    assert device.sizes == [8, 4, *[2] * 4, *[2] * 4]


def test_an_image_that_does_not_fit_alone_is_an_error_with_a_fix() -> None:
    encoder = HalvingEncoder(Device(room=0), torch.device("cpu"), 8)
    with pytest.raises(ModelError, match="one image in the memory of cpu") as caught:
        encoder(VisionInputs.of_pixels(torch.zeros(3, 1, 1, 1)))
    assert "smaller model" in caught.value.fix
