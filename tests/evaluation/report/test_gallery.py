"""Which images a report shows, and how."""

from __future__ import annotations

import base64
import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from captune.evaluation.report.gallery.cards import choose_images, make_card
from captune.evaluation.report.gallery.items import make_item
from captune.evaluation.report.gallery.thumbnails import make_thumbnail, read_thumbnail
from captune.records import CaptionRecord

values = st.lists(st.one_of(st.floats(-5, 5), st.just(math.nan)), max_size=40)


def test_gains_losses_worst_and_typical_images_are_chosen() -> None:
    gains = [0.0, 3.0, -2.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    quality = [5.0, 5.0, 5.0, 5.0, 0.1, 5.0, 5.0, 5.0, 5.0, 5.0]
    chosen = {c.place: c.reasons for c in choose_images(gains, quality, size=4, seed=1)}
    assert chosen.pop(1) == ("gain",)
    assert chosen.pop(2) == ("loss",)
    assert chosen.pop(4) == ("worst",)
    assert list(chosen.values()) == [("typical",)]


def test_an_image_chosen_for_two_reasons_is_shown_once() -> None:
    chosen = choose_images([0.0, -4.0, 1.0], [1.0, 0.0, 2.0], size=4, seed=0)
    assert [c.place for c in chosen] == [0, 1, 2]
    assert chosen[1].reasons == ("loss", "worst")


def test_the_same_seed_draws_the_same_images() -> None:
    zeros = [0.0] * 50
    one = choose_images(zeros, [1.0] * 50, size=8, seed=3)
    assert one == choose_images(zeros, [1.0] * 50, size=8, seed=3)
    assert one != choose_images(zeros, [1.0] * 50, size=8, seed=4)


@given(values, st.integers(1, 20))
def test_at_most_the_requested_images_are_chosen_and_each_once(
    gains: list[float], size: int
) -> None:
    chosen = choose_images(gains, [g / 2 for g in gains], size=size, seed=0)
    places = [c.place for c in chosen]
    assert len(places) == min(size, len(gains))
    assert sorted(set(places)) == places
    assert all(c.reasons for c in chosen)


def test_without_scores_the_images_are_drawn_at_random() -> None:
    unknown = [math.nan] * 9
    chosen = choose_images(unknown, unknown, size=3, seed=0)
    assert [c.reasons for c in chosen] == [("random",)] * 3


def test_a_thumbnail_is_a_small_jpeg_of_the_same_shape() -> None:
    uri, size = make_thumbnail(Image.new("RGB", (1600, 800), (200, 10, 10)))
    assert size == (384, 192)
    image = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))))
    assert (image.format, image.size) == ("JPEG", (384, 192))


def test_a_thumbnail_of_a_photograph_is_upright_and_without_metadata() -> None:
    pixels = Image.new("RGB", (1200, 800), (200, 10, 10))
    pixels.paste((10, 10, 200), (0, 0, 600, 800))
    exif = pixels.getexif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.ImageDescription] = "at home"
    buffer = io.BytesIO()
    pixels.save(buffer, "JPEG", exif=exif, comment=b"of Anna", quality=95)
    uri, size = read_thumbnail(buffer.getvalue(), side=90)
    assert size == (60, 90)
    data = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    assert b"Anna" not in data
    assert b"home" not in data
    small = Image.open(io.BytesIO(data)).convert("RGB")
    (red, _, blue), (other_red, _, other_blue) = small.getpixel((30, 10)), small.getpixel((30, 80))
    # Turned by 90 degrees, the left half is at the top.
    assert blue > red
    assert other_red > other_blue


def test_a_small_picture_is_not_enlarged() -> None:
    assert make_thumbnail(Image.new("RGB", (30, 20)))[1] == (30, 20)


def test_the_card_of_a_broken_image_gives_the_reason() -> None:
    record = CaptionRecord("x", b"<html>", ("a dog",))
    captions = {"before": "a cat", "after": "a dog"}
    item = make_item(record, captions, scores={"after": 1.5}, judged=(0.25, 1.5))
    card = make_card(record, item, reasons=("gain",))
    assert (card.thumbnail, card.problem) == ("", "not_an_image")
    assert card.item.gain_text == "+0.25"
    assert math.isnan(card.item.captions[0].score)


@pytest.mark.parametrize(("gain", "text"), [(-0.84, "−0.84"), (0.001, "±0.00"), (-0.001, "±0.00")])
def test_a_gain_has_a_sign_unless_its_digits_are_all_zero(gain: float, text: str) -> None:
    item = make_item(CaptionRecord("x", b""), {"a": "b"}, judged=(gain, 0.0))
    assert item.gain_text == text


def test_references_beyond_the_limit_are_counted_instead_of_shown() -> None:
    record = CaptionRecord("x", b"", tuple(f"caption {n}" for n in range(30)))
    item = make_item(record, {"a": "b"})
    assert len(item.references) + item.hidden_references == 30
    assert item.hidden_references > 0


def test_words_that_differ_from_the_first_model_are_marked() -> None:
    item = make_item(
        CaptionRecord("x", b"", ("a red dog",)),
        {"one": "a dog", "two": "a red dog", "three": "a dog"},
    )
    assert [[w.text for w in c.words if w.changed] for c in item.captions] == [[], ["red"], []]


def test_images_that_the_page_also_shows_elsewhere_are_always_chosen() -> None:
    quality = [float(n) for n in range(100)]
    chosen = choose_images([math.nan] * 100, quality, size=8, seed=0, heroes=(99, 50, 0))
    assert {0, 50, 99} <= {c.place for c in chosen}
    assert len(chosen) == 8
