"""One bad image costs one image: broken and hostile files are listed, the others captioned."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.bulk.hostile_images import (
    CAPTIONED,
    HostileImage,
    odd_names,
    photo,
    write_hostile,
    write_photos,
)
from support.bulk.stub_captioner import caption_of, poison
from support.soak import count, soak

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory limits are Linux's")


def read_rows(path: Path) -> dict[str, str]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    found = {Path(row["image_id"]).name: row["caption"] for row in rows}
    assert len(found) == len(rows)
    return found


def read_failures(folder: Path) -> dict[str, str]:
    (path,) = folder.rglob("*failures.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {Path(row["image_id"]).name: row["code"] for row in rows}


def check_reasons(images: list[HostileImage], rows: dict[str, str], failures: dict[str, str]):
    for image in images:
        reason = failures.get(image.name, CAPTIONED)
        assert reason in image.reasons, (image.case, image.name, reason)
        assert (image.name in rows) == (reason == CAPTIONED), image.name


@pytest.mark.slow
def test_truncated_images_are_captioned_and_flagged_if_that_is_allowed(tmp_path, model, captune):
    images = [image for image in write_hostile(tmp_path / "photos") if image.case in (1, 2, 3)]
    names = {image.name for image in images if image.case == 3}
    inputs = [f"photos/{image.name}" for image in images]
    lenient = ["--allow-truncated", "--decode", "isolated"]
    strict = captune("caption", model, *inputs, "--out", "o.jsonl").run()
    assert names <= set(read_failures(tmp_path))
    assert strict.code == 3
    allowed = captune("caption", model, *inputs, "--out", "o.jsonl", *lenient).run()
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert {Path(row["image_id"]).name: row["flags"] for row in rows} == {
        name: ["truncated"] for name in names
    }
    assert not names & set(read_failures(tmp_path))
    assert f"{len(names)} truncated images captioned" in allowed.err


@pytest.mark.slow
def test_a_known_caption_of_a_truncated_image_is_not_used_without_the_flag(
    tmp_path, model, captune
):
    photos = tmp_path / "photos"
    write_photos(photos, 1)
    whole = (photos / "photo000000.png").read_bytes()
    (photos / "cut.png").write_bytes(whole[: len(whole) // 2])
    written = photos / "cut.txt"
    lenient = ["--allow-truncated", "--decode", "isolated"]
    captune("caption", model, "photos", "--to", "txt", *lenient).run()
    assert written.exists()
    captune("undo", "photos").run()
    assert not written.exists()
    strict = captune("caption", model, "photos", "--to", "txt").run()
    assert (strict.code, written.exists()) == (3, False)
    captune("caption", model, "photos", "--to", "txt", *lenient).run()
    assert written.exists()


def test_truncated_images_are_not_decoded_inline(tmp_path, model, captune):
    write_photos(tmp_path / "photos", 1)
    ended = captune("caption", model, "photos", "--allow-truncated", "--decode", "inline").run()
    assert ended.code == 2
    assert "truncated images are decoded only in child processes" in ended.err


@pytest.mark.slow
def test_each_broken_file_is_listed_with_its_reason(tmp_path, model, captune):
    images = write_hostile(tmp_path / "photos")
    good = write_photos(tmp_path / "photos", 5)
    command = captune("caption", model, "photos", "--out", "o.jsonl", "--decode", "isolated")
    ended = command.run()
    assert ended.code == 3, ended.err
    rows, failures = read_rows(tmp_path / "o.jsonl"), read_failures(tmp_path)
    check_reasons(images, rows, failures)
    for n, path in enumerate(good):
        assert rows[path.name] == caption_of(photo(n))
    assert len(rows) + len(failures) == len(images) + len(good)


@pytest.mark.slow
def test_bombs_end_within_seconds_and_the_others_are_captioned(tmp_path, model, captune):
    images = write_hostile(tmp_path / "photos", with_large=True)
    write_photos(tmp_path / "photos", 5)
    command = captune("caption", model, "photos", "--out", "o.jsonl", "--decode", "isolated")
    ended = command.run(timeout=280)
    assert ended.code == 3, ended.err
    check_reasons(images, read_rows(tmp_path / "o.jsonl"), read_failures(tmp_path))


def test_unusual_modes_get_the_caption_of_the_equal_rgb_image(tmp_path, model, captune):
    base = photo(3)
    white = Image.new("RGBA", base.size, "white")
    half = base.convert("RGBA")
    half.putalpha(128)
    pairs = {
        "grey": (base.convert("L"), base.convert("L").convert("RGB")),
        "alpha": (half, Image.alpha_composite(white, half).convert("RGB")),
        "bits": (base.convert("1"), base.convert("1").convert("RGB")),
        "palette": (base.convert("P"), base.convert("P").convert("RGB")),
    }
    for name, (image, twin) in pairs.items():
        for kind, one in (("a", image), ("b", twin)):
            (tmp_path / kind).mkdir(exist_ok=True)
            one.save(tmp_path / kind / f"{name}.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    base.save(tmp_path / "a" / "turned.png", exif=turned)
    base.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "b" / "turned.png")
    for kind in "ab":
        assert captune("caption", model, kind, "--out", f"{kind}.jsonl").run().code == 0
    assert read_rows(tmp_path / "a.jsonl") == read_rows(tmp_path / "b.jsonl")
    assert len(read_rows(tmp_path / "a.jsonl")) == 5


@pytest.mark.parametrize("form", ["txt", "jsonl", "csv"])
def test_odd_names_are_reported_unchanged(tmp_path, model, captune, form):
    folder = tmp_path / "photos"
    folder.mkdir()
    names = [name for name in odd_names() if len(name) < 250 or form != "txt"]
    for number, name in enumerate(names):
        photo(number).save(folder / "one.png")
        os.rename(os.fsencode(folder / "one.png"), os.fsencode(folder) + b"/" + name)  # noqa: PTH104
    flags = ["--to", "txt"] if form == "txt" else ["--out", f"o.{form}"]
    ended = captune("caption", model, "photos", *flags).run()
    assert ended.code == 0, ended.err
    if form == "jsonl":
        rows = read_rows(tmp_path / "o.jsonl")
        assert {os.fsencode(name) for name in rows} == set(names)
        for number, name in enumerate(names):
            assert rows[os.fsdecode(name)] == caption_of(photo(number))
    if form == "txt":
        texts = {path.read_text().strip() for path in folder.glob("*.txt")}
        assert texts == {caption_of(photo(number)) for number in range(len(names))}


@pytest.mark.slow
@soak
def test_1_percent_of_broken_files_is_listed_exactly(tmp_path, model, captune):
    number = count(400, full=10_000)
    paths = write_photos(tmp_path / "photos", number)
    draw = np.random.default_rng(0)
    broken = {paths[n].name for n in draw.choice(number, number // 100, replace=False).tolist()}
    for name in broken:
        path = tmp_path / "photos" / name
        path.write_bytes(path.read_bytes()[:60])
    ended = captune("caption", model, "photos", "--out", "o.jsonl").run()
    assert ended.code == 3, ended.err
    assert set(read_failures(tmp_path)) == broken
    rows = read_rows(tmp_path / "o.jsonl")
    assert set(rows) == {path.name for path in paths} - broken
    assert f"{len(broken)} failed" in ended.err
    assert f"{number - len(broken)} captioned" in ended.err


@pytest.mark.parametrize("fault", ["memory", "error", "empty"])
def test_an_image_that_breaks_the_model_costs_one_image(tmp_path, model, captune, fault):
    paths = write_photos(tmp_path / "photos", 20)
    poison(fault).save(tmp_path / "photos" / "photo000007x.png")
    ended = captune("caption", model, "photos", "--to", "txt", "--batch-size", 4).run()
    assert ended.code == 3, ended.err
    assert set(read_failures(tmp_path)) == {"photo000007x.png"}
    texts = {path.stem: path.read_text().strip() for path in (tmp_path / "photos").glob("*.txt")}
    assert texts == {path.stem: caption_of(photo(n)) for n, path in enumerate(paths)}
