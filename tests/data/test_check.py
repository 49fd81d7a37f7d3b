"""The data check: duplicates, leaks, useless captions, lengths, its page and its JSON."""

from __future__ import annotations

import io
import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from captune.data import (
    DecodeOptions,
    LoadedData,
    SkippedImage,
    check_data,
    decode_image,
    load_records,
    make_shapes,
    perceptual_hash,
)
from captune.data.check.caption_stats import is_placeholder, measure_lengths
from captune.data.check.duplicates import group_exact, group_near
from captune.data.check.fingerprints import fingerprint_image
from captune.records import CaptionRecord


def scenery(seed: int, side: int = 96) -> Image.Image:
    """Return smooth random colours, which hash like photographs and all differ."""
    cells = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((side, side), Image.Resampling.BICUBIC)


def encode(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def record(name, image, *captions, **fields):
    return CaptionRecord(name, image, captions or ("a caption",), **fields)


# --- duplicates -------------------------------------------------------------------------------


def test_equal_pixels_are_exact_duplicates_whatever_the_file():
    image = scenery(0)
    prints = [
        fingerprint_image(decode_image(content))
        for content in (encode(image), encode(image, "BMP"), encode(scenery(1)), encode(image))
    ]
    assert group_exact(prints) == [[0, 1, 3]]
    assert group_near(prints) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda image: decode_image(encode(image, "JPEG", quality=40)),
        lambda image: image.resize((48, 48), Image.Resampling.LANCZOS),
        lambda image: image.resize((120, 80)),
        lambda image: ImageEnhance.Brightness(image).enhance(1.08),
        lambda image: image.crop((1, 1, 95, 95)),
    ],
)
def test_a_slightly_changed_image_is_near(change):
    found = [
        group_near([fingerprint_image(image), fingerprint_image(change(image))])
        for image in map(scenery, range(20))
    ]
    assert found.count([[0, 1]]) >= 18


def test_another_image_a_mirrored_one_and_another_colour_are_not_near():
    image = scenery(3)
    red, green, blue = image.split()
    others = [
        image,
        scenery(4),
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        Image.merge("RGB", (blue, red, green)),
    ]
    assert group_near([fingerprint_image(other) for other in others]) == []


@pytest.mark.slow
def test_near_images_equal_those_found_by_comparing_all_pairs():
    images = [scenery(seed) for seed in range(60)]
    images += [ImageEnhance.Brightness(image).enhance(1.05) for image in images[:20]]
    prints = [fingerprint_image(image) for image in images]
    slow = {
        (first, second)
        for first, second in itertools.combinations(range(len(prints)), 2)
        if group_near([prints[first], prints[second]])
    }
    fast = {
        pair for group in group_near(prints) for pair in itertools.combinations(sorted(group), 2)
    }
    assert fast == slow
    assert len(slow) >= 18


def test_flat_images_that_share_a_hash_are_distinguished_by_colour():
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    prints = [fingerprint_image(Image.new("RGB", (20, 20), colour)) for colour in colours]
    assert len({print_.bands.tobytes() for print_ in prints}) == 1
    assert group_near(prints) == []


def test_the_perceptual_hash_has_128_bits_and_hand_checked_ends():
    # Darker from left to right: every bit along rows is set, none along columns.
    ramp = np.linspace(255, 0, 90).astype(np.uint8)
    image = Image.fromarray(np.repeat(ramp[None], 90, axis=0)).convert("RGB")
    bits = np.unpackbits(perceptual_hash(image).view(np.uint8))
    assert bits.shape == (128,)
    assert bits[:64].all()
    assert not bits[64:].any()


@pytest.mark.timeout(20)
def test_eight_thousand_blank_images_are_not_compared_pairwise():
    blank = fingerprint_image(Image.new("RGB", (16, 16)))
    prints = [replace(blank, pixels=str(number)) for number in range(8000)]
    assert group_near(prints) == [list(range(8000))]


# --- the report -----------------------------------------------------------------------------


def make_data(tmp_path: Path) -> LoadedData:
    cut = encode(scenery(9), "JPEG")
    records = (
        record("a", encode(scenery(0)), "A dog runs .", "A dog runs", split="train"),
        record("b", encode(scenery(0), "BMP"), "a DOG runs!", split="test"),
        record("c", encode(scenery(1)), "A dog runs .", "IMG_0001.jpg", split="train", group="g"),
        record("d", encode(scenery(2)), "one two three four five", split="test", group="g"),
        record("e", cut[: len(cut) // 2], "<script>alert('x')</script> & \u202e", split="train"),
        record("f", encode(scenery(2), "JPEG", quality=60), "f", split="train"),
    )
    return LoadedData(
        records,
        skipped=(SkippedImage("x", "x.jpg", "missing"), SkippedImage("y", "y.jpg", "no_caption")),
        empty_captions=("a",),
        in_two_splits=("c",),
        notes=("a note",),
        format="test",
        root=tmp_path,
    )


def test_an_image_whose_only_caption_is_empty_gives_one_warning(tmp_path):
    (tmp_path / "a.png").write_bytes(encode(scenery(0)))
    (tmp_path / "b.png").write_bytes(encode(scenery(1)))
    table = tmp_path / "captions.csv"
    table.write_text("image,caption\na.png,\nb.png,a dog\n", encoding="utf-8")
    texts = [problem.text for problem in check_data(load_records(tmp_path)).problems]
    assert texts == ["1 image without a caption, skipped"]
    table.write_text("image,caption\na.png,\na.png,a cat\nb.png,a dog\n", encoding="utf-8")
    texts = [problem.text for problem in check_data(load_records(tmp_path)).problems]
    assert texts == ["1 empty caption, not used in training"]


def test_a_check_finds_all_problems(tmp_path):
    found = check_data(
        make_data(tmp_path), count_tokens=lambda text: len(text.split()) + 2, max_caption_tokens=6
    )
    assert (found.num_images, found.num_captions) == (6, 8)
    assert found.splits == {"train": 4, "test": 2}
    assert [(image.image_id, image.reason) for image in found.unreadable] == [("e", "truncated")]
    assert found.exact_duplicates == (("a", "b"),)
    assert found.near_duplicates == (("d", "f"),)
    assert [(leak.kind, leak.image_ids, leak.splits) for leak in found.leaks] == [
        ("given", ("c",), ()),
        ("exact", ("a", "b"), ("train", "test")),
        ("near", ("d", "f"), ("train", "test")),
        ("group", ("c", "d"), ("train", "test")),
    ]
    assert found.empty_captions == ("a",)
    assert [item.caption for item in found.placeholder_captions] == ["IMG_0001.jpg"]
    assert [(i.caption, i.num_images) for i in found.common_captions] == [("A dog runs", 3)]
    assert found.repeated_captions == ("a",)
    assert found.captions_per_image == {1: 4, 2: 2}
    assert found.words.histogram == {1: 2, 3: 3, 4: 2, 5: 1}
    assert found.tokens.longest == 7
    assert found.num_cut == 1
    assert found.widths == (96, 96, 96)


def test_problems_are_sentences_with_figures_errors_first(tmp_path):
    found = check_data(make_data(tmp_path), count_tokens=lambda text: 10, max_caption_tokens=9)
    texts = [problem.text for problem in found.problems]
    assert texts[:4] == [
        "1 image cannot be found (1 missing)",
        "1 image cannot be read (1 truncated)",
        "the data set itself puts an image into two splits (it was kept in the first): 1 case",
        "the same image is in two splits: 1 case",
    ]
    assert "1 caption with no description, such as 'IMG_0001.jpg'" in texts
    assert "1 image without a caption, skipped" in texts
    assert "8 captions (100.0%) longer than 9 tokens would be truncated" in texts
    assert found.num_errors == 4


def test_a_clean_set_has_no_problem():
    records = tuple(record(str(n), encode(scenery(n)), f"caption number {n}") for n in range(8))
    found = check_data(LoadedData(records))
    assert found.problems == ()
    assert found.tokens is None


def test_images_that_need_a_plugin_are_listed_with_its_pip_command():
    heic = b"\0\0\0\x18ftypheic" + b"\0" * 64
    findings = check_data(LoadedData((CaptionRecord("a", heic, ("One",)),)))
    assert findings.unreadable[0].detail.endswith("pip install pillow-heif")
    assert "pip install pillow-heif" in findings.problems[0].fix
    assert "fetch" not in findings.problems[0].fix


def test_the_json_holds_all_findings(tmp_path):
    values = json.loads(check_data(make_data(tmp_path)).to_json())
    assert values["exact_duplicates"] == [["a", "b"]]
    assert values["unreadable"][0]["reason"] == "truncated"
    assert values["words"]["histogram"]["3"] == 3
    assert "previews" not in values


def test_progress_is_reported_once_per_image():
    seen: list[int] = []
    data = LoadedData(tuple(make_shapes(5)))
    check_data(data, report_progress=seen.append, decoding=DecodeOptions(num_threads=2))
    assert seen == [1, 2, 3, 4, 5]


def test_the_findings_do_not_depend_on_the_number_of_threads(tmp_path):
    data = make_data(tmp_path)
    assert check_data(data, decoding=DecodeOptions(num_threads=1)) == check_data(
        data, decoding=DecodeOptions(num_threads=4)
    )


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("n/a", True),
        ("No caption.", True),
        ("IMG_20240101.jpg", True),
        ("https://example.org/a", True),
        ("...", True),
        ("A photo", False),
        ("a dog at example.org", False),
        ("Ein Hund", False),
        ("犬", False),
    ],
)
def test_captions_that_describe_nothing_are_recognised(caption, expected):
    assert is_placeholder(caption) is expected


def test_length_figures_equal_those_computed_by_hand():
    stats = measure_lengths([3, 1, 2, 10])
    assert (stats.mean, stats.median, stats.p95, stats.longest) == (4.0, 2, 10, 10)
    assert stats.histogram == {1: 1, 2: 1, 3: 1, 10: 1}
    assert measure_lengths(range(1, 101)).p95 == 95
    assert measure_lengths([]).histogram == {}


@pytest.mark.slow
@pytest.mark.real_data
def test_the_real_flickr8k_has_one_image_twice(real_data):
    data = load_records(real_data / "flickr8k")
    twice = {"2851198725_37b6027625.jpg", "3050606344_af711c726c.jpg"}
    some = [r for n, r in enumerate(data.records) if n % 10 == 0 or r.image_id in twice]
    found = check_data(replace(data, records=tuple(some)))
    assert [set(group) for group in found.exact_duplicates] == [twice]
    assert found.near_duplicates == ()
    assert found.unreadable == ()
    assert 11 < found.words.mean < 12.5
