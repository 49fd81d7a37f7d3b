"""Findings kept between checks, and the worker processes that compute them."""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from captune.data import DecodeOptions, LoadedData, check_data, decode_image
from captune.data.check.duplicates import group_exact, group_near
from captune.data.check.fingerprint_process import FingerprintWorkers
from captune.data.check.fingerprints import FingerprintBatch, fingerprint_image
from captune.data.check.kept_findings import KeptFindings
from captune.data.check.read_images import fingerprint_records
from captune.records import CaptionRecord
from support.soak import count, soak

COUNT = 1100


def picture(seed: int) -> Image.Image:
    cells = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((20, 16), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Images that are old enough to be kept: some equal, some broken."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(COUNT):
        picture(number % (COUNT - 50)).save(folder / f"{number:04d}.png")
    (folder / "0007.png").write_bytes(b"no image")
    time.sleep(2.2)
    return folder


def records_of(folder):
    return tuple(
        CaptionRecord(path.name, path, (f"caption {path.stem}",))
        for path in sorted(folder.glob("*.png"))
    )


def check(folder, kept=None, **options):
    calls = []
    data = LoadedData(records_of(folder), root=folder)
    findings = check_data(
        data, kept=kept, decoding=DecodeOptions(**options), report_progress=calls.append
    )
    return findings, calls


@pytest.fixture
def kept(tmp_path):
    return KeptFindings.of("a data set", folder=tmp_path / "checks", say=print)


@pytest.mark.slow
def test_a_second_check_reads_only_images_without_kept_findings_and_finds_the_same(images, kept):
    fresh, calls = check(images)
    assert calls == list(range(1, COUNT + 1))
    assert check(images, kept)[0] == fresh
    again, calls = check(images, kept)
    assert again == fresh
    # All but the broken image are done at once.
    assert calls == [COUNT]
    assert len(fresh.exact_duplicates) == 49
    assert [image.image_id for image in fresh.unreadable] == ["0007.png"]


@pytest.mark.slow
def test_workers_and_one_thread_find_the_same(images):
    records = records_of(images)
    one, two = (
        fingerprint_records(records, decoding=DecodeOptions(num_threads=number))
        for number in (1, 2)
    )
    assert one.unreadable == two.unreadable
    assert (one.places == two.places).all()
    for name in ("pixels", "bands", "widths", "heights", "thumbnails"):
        assert (getattr(one.prints, name) == getattr(two.prints, name)).all()


def test_a_check_that_ends_early_leaves_no_worker_and_starts_none(images):
    started = []
    open_worker = FingerprintWorkers._open

    def count(workers):
        started.append(open_worker(workers))
        return started[-1]

    def stop(number):
        if number == 70:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FingerprintWorkers, "_open", count)
        with pytest.raises(KeyboardInterrupt):
            fingerprint_records(
                records_of(images), decoding=DecodeOptions(num_threads=2), report=stop
            )
    assert 1 <= len(started) <= 2
    assert all(process.returncode is not None for process in started)


def test_workers_that_have_ended_start_no_process(images):
    with FingerprintWorkers(1, max_pixels=1000) as workers:
        pass
    assert workers.read([str(images / "0001.png")]).left == [0]


def copy_images(images, folder):
    folder.mkdir()
    for path in images.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.slow
def test_replaced_and_removed_images_are_read_again(images, kept, tmp_path):
    folder = copy_images(images, tmp_path / "copy")
    time.sleep(2.2)
    check(folder, kept)
    # The same size, another time.
    old = (folder / "0001.png").read_bytes()
    new = (folder / "0002.png").read_bytes()
    (folder / "0001.png").write_bytes(new[: len(old)].ljust(len(old), b"\0"))
    (folder / "0003.png").write_bytes(new)
    (folder / "0004.png").unlink()
    records = [replace(each) for each in records_of(folder)]
    records.append(CaptionRecord("0004.png", folder / "0004.png", ("gone",)))
    data = LoadedData(tuple(records), root=folder)
    assert check_data(data, kept=kept) == check_data(data)
    time.sleep(2.2)
    assert check_data(data, kept=kept) == check_data(data)
    reasons = [image.reason for image in check_data(data, kept=kept).unreadable]
    assert reasons.count("missing") == 1


@pytest.mark.slow
def test_a_replaced_image_with_the_old_times_is_read_again(images, kept, tmp_path):
    folder = copy_images(images, tmp_path / "copy")
    time.sleep(2.2)
    check(folder, kept)
    path = folder / "0010.png"
    state, size = path.stat(), path.stat().st_size
    content = next(
        other.read_bytes()
        for other in folder.iterdir()
        if other.stat().st_size == size and other.read_bytes() != path.read_bytes()
    )
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert check(folder, kept)[0] == check(folder)[0]


@pytest.mark.slow
def test_findings_about_images_that_have_just_changed_are_not_kept(images, kept, tmp_path):
    folder = copy_images(images, tmp_path / "copy")
    check(folder, kept)
    assert len(check(folder, kept)[1]) == COUNT


@pytest.mark.slow
@pytest.mark.parametrize("place", [10, -40, -2, "version", "short", "empty"])
def test_damaged_findings_are_ignored(images, kept, place):
    fresh, _ = check(images, kept)
    content = bytearray(kept.path.read_bytes())
    if isinstance(place, int):
        content[place] ^= 0xFF
    elif place == "version":
        content = content.replace(b'"version": "1 ', b'"version": "0 ')
    else:
        content = content[: len(content) // 2 if place == "short" else 0]
    kept.path.write_bytes(content)
    again, calls = check(images, kept)
    assert again == fresh
    assert len(calls) == COUNT


@pytest.mark.slow
def test_a_kept_image_above_a_lowered_pixel_limit_becomes_unreadable(images, kept):
    check(images, kept)
    findings, _ = check(images, kept, max_pixels=300)
    assert {image.reason for image in findings.unreadable} == {"too_many_pixels", "not_an_image"}


@pytest.mark.slow
def test_a_check_works_and_reports_it_if_findings_cannot_be_written(images, tmp_path):
    (tmp_path / "file").write_text("")
    lines = []
    kept = KeptFindings.of("x", folder=tmp_path / "file" / "checks", say=lines.append)
    assert check(images, kept)[0] == check(images)[0]
    assert len(lines) == 1
    assert "not kept" in lines[0]


@pytest.mark.slow
@pytest.mark.parametrize("free", [1, 5_000, 100_000])
def test_a_disk_that_fills_up_during_a_check_changes_no_finding(images, tmp_path, full_disk, free):
    whole = check(images)[0]
    lines = []
    kept = KeptFindings.of("x", folder=tmp_path / "checks", say=lines.append)
    with full_disk(free):
        found = check(images, kept)[0]
    assert found == whole
    assert [line for line in lines if "not kept" in line]
    assert not list((tmp_path / "checks").iterdir())


def test_images_of_a_killed_worker_are_left_to_the_parent(images):
    sources = [each.image for each in records_of(images)[:4]]
    with FingerprintWorkers(1, max_pixels=10**8) as workers:
        assert len(workers.read(sources).rows) == 4
        workers._started[0].kill()
        workers._started[0].wait()
        assert workers.read(sources).left == [0, 1, 2, 3]
        # A new one starts.
        assert len(workers.read(sources).rows) == 4


def test_a_worker_leaves_large_images_to_the_parent_and_reports_broken_ones(tmp_path):
    Image.new("RGB", (2500, 2000)).save(tmp_path / "large.png")
    (tmp_path / "text.png").write_bytes(b"text")
    picture(1).save(tmp_path / "small.png")
    sources = [tmp_path / name for name in ("large.png", "text.png", "small.png")]
    with FingerprintWorkers(1, max_pixels=10**8) as workers:
        answer = workers.read(sources)
    assert answer.left == [0]
    assert answer.errors[1].what == "not_an_image"
    assert answer.rows["width"].tolist() == [20]


# --- slow twins -------------------------------------------------------------------------------


def slow_bands(image: Image.Image) -> np.ndarray:
    """Return the difference hash of one image, step by step."""
    grey = image.convert("L")
    rows = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), np.int16)
    columns = np.asarray(grey.resize((8, 9), Image.Resampling.BOX), np.int16)
    bits = [rows[y, x] - rows[y, x + 1] >= 2 for y in range(8) for x in range(8)]
    bits += [columns[y, x] - columns[y + 1, x] >= 2 for y in range(8) for x in range(8)]
    return np.packbits(np.array(bits)).view(np.uint16)


def test_a_batch_gives_each_image_the_fingerprint_that_it_has_alone():
    pictures = [picture(seed) for seed in range(9)] + [Image.new("RGB", (3, 200), "teal")]
    batch = FingerprintBatch(16)
    for each in pictures:
        batch.add(each)
    rows = batch.finish()
    assert len(rows) == 10
    for row, each in zip(rows, pictures, strict=True):
        named = f"{each.width}x{each.height}".encode() + each.tobytes()
        assert row["pixels"].tobytes() == hashlib.sha256(named).digest()
        assert (row["bands"] == slow_bands(each)).all()
        small = np.asarray(each.resize((16, 16), Image.Resampling.BOX))
        assert (row["thumbnail"] == small).all()
        assert (int(row["width"]), int(row["height"])) == each.size


@soak
@pytest.mark.slow
def test_near_groups_are_those_of_comparing_every_pair(monkeypatch):
    pictures = []
    for seed in range(count(150, full=300)):
        image = picture(seed // 3)
        if seed % 3 == 1:
            image = image.point(lambda value: min(255, value + 7))
        if seed % 7 == 0:
            image = Image.new("RGB", (12, 12), (seed % 250, 40, 80))
        pictures.append(image)
    prints = [fingerprint_image(each) for each in pictures]
    # Two images alone are compared in one step, so this is every pair by itself.
    exact = {n for group in group_exact(prints) for n in group[1:]}
    label = {n: n for n in range(len(prints)) if n not in exact}
    for one, other in itertools.combinations(list(label), 2):
        if group_near([prints[one], prints[other]]):
            low, high = sorted((label[one], label[other]))
            label = {n: low if own == high else own for n, own in label.items()}
    groups: dict[int, list[int]] = {}
    for place, own in label.items():
        groups.setdefault(own, []).append(place)
    expected = [group for group in groups.values() if len(group) > 1]
    assert len(expected) > 10
    assert group_near(prints) == expected
    # Long runs are compared in another way.
    monkeypatch.setattr("captune.data.check.near_chains._SHORT_RUN", 2)
    assert group_near(prints) == expected


def test_equal_pixels_are_decoded_the_same_way_by_worker_and_parent(tmp_path):
    picture(5).save(tmp_path / "a.png")
    with FingerprintWorkers(1, max_pixels=10**8) as workers:
        row = workers.read([tmp_path / "a.png"]).rows[0]
    own = fingerprint_image(decode_image(tmp_path / "a.png"))
    assert row["pixels"].tobytes().hex() == own.pixels
