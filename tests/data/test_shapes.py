"""The built-in set: its drawings never change, its captions are true, its judge is strict."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captune.data import caption_is_true, decode_image, image_hash, is_shapes_id, make_shapes
from captune.data.shapes.make_shapes import is_true_of
from captune.data.shapes.scene_captions import describe_scene
from captune.data.shapes.scene_grammar import UnreadableError, parse_caption
from captune.data.shapes.scenes import (
    COLOURS,
    SHAPES,
    SIZES,
    Scene,
    SceneObject,
    draw_scene,
    make_scene,
)
from captune.errors import DataError

CORNERS = ((0, 0), (0, 2), (2, 0), (2, 2))


def thing(words, row, column):
    size, colour, shape = words.split()
    return SceneObject(size, colour, shape, row, column)


# A large red circle top left, a small red circle top right, a small blue square bottom right.
TWINS = Scene(
    (
        thing("large red circle", 0, 0),
        thing("small red circle", 0, 2),
        thing("small blue square", 2, 2),
    )
)
LONE = Scene((thing("large green star", 1, 1),))

# --- the set ----------------------------------------------------------------------------------


def test_a_set_has_five_true_captions_per_image_and_never_changes():
    records = make_shapes(40, seed=3)
    assert [record.image_id for record in records[:2]] == ["shapes-3-00000", "shapes-3-00001"]
    assert all(len(set(record.captions)) == 5 for record in records)
    assert make_shapes(40, seed=3) == records
    assert make_shapes(10, seed=3) == records[:10]
    assert make_shapes(40, seed=4)[0].captions != records[0].captions


def test_a_known_scene_and_its_captions_stay():
    # Splits, reports and the judge find scenes by number: a changed draw would make all wrong.
    assert make_shapes(1)[0].captions == (
        "a large yellow circle",
        "there is a yellow circle in the top right",
        "one shape: a large yellow circle",
        "the yellow circle is large and in the top right",
        "in the top right there is a large yellow circle",
    )
    assert make_scene(0, 0).objects[0].row == 0


@pytest.mark.slow
def test_every_caption_of_many_scenes_is_true():
    for seed, index in ((seed, index) for seed in (0, 9) for index in range(1500)):
        scene = make_scene(seed, index)
        for caption in describe_scene(scene):
            assert is_true_of(scene, caption), (caption, scene.composition)


def test_the_vocabulary_is_small():
    words = Counter(
        word
        for record in make_shapes(400, image_size=16)
        for caption in record.captions
        for word in re.findall(r"\w+", caption)
    )
    assert 30 <= len(words) <= 60


@pytest.mark.slow
def test_no_constant_caption_is_true_of_more_than_a_few_per_cent():
    scenes = [make_scene(1, index) for index in range(250)]
    captions = {caption for index in range(60) for caption in describe_scene(make_scene(0, index))}
    best = max(sum(is_true_of(scene, text) for scene in scenes) for text in captions)
    assert best / len(scenes) < 0.08


def test_scenes_of_one_composition_are_one_group():
    records = make_shapes(400, image_size=16)
    by_group: dict[str, set[tuple[str, ...]]] = {}
    for record in records:
        by_group.setdefault(record.group, set()).add(record.captions)
    assert all(len(captions) == 1 for captions in by_group.values())
    assert len(by_group) < len(records)


def test_images_of_any_size_are_crisp_and_show_the_scene():
    for size in (16, 64, 224):
        record = make_shapes(1, image_size=size)[0]
        image = decode_image(record.image)
        assert image.size == (size, size)
        # A large yellow circle in the top right on a light background.
        assert image.getpixel((round(0.745 * size), round(0.255 * size))) == COLOURS["yellow"]
        assert min(image.getpixel((1, size - 2))) >= 238


def test_edges_are_blended_between_shape_and_background():
    scene = Scene((thing("large blue circle", 1, 1),), background=(250, 250, 250))
    pixels = np.asarray(decode_image(draw_scene(scene, image_size=64))).reshape(-1, 3)
    colours = {tuple(int(v) for v in pixel) for pixel in pixels}
    assert {(250, 250, 250), COLOURS["blue"]} < colours
    assert len(colours) > 6
    blue, white = np.array(COLOURS["blue"]), np.array((250, 250, 250))
    share = (pixels - white) @ (blue - white) / ((blue - white) @ (blue - white))
    assert np.abs(white + share[:, None] * (blue - white) - pixels).max() < 2


def test_shapes_in_one_image_do_not_touch():
    for index in range(300):
        things = make_scene(0, index).objects
        for place, one in enumerate(things):
            for other in things[place + 1 :]:
                distance = np.hypot(one.x - other.x, one.y - other.y)
                assert distance > SIZES[one.size] + SIZES[other.size] - 1e-9


def test_every_kind_of_thing_and_every_number_appears():
    scenes = [make_scene(0, index) for index in range(600)]
    things = {(t.size, t.colour, t.shape) for scene in scenes for t in scene.objects}
    assert len(things) == len(SIZES) * len(COLOURS) * len(SHAPES)
    counts = Counter(len(scene.objects) for scene in scenes)
    assert all(counts[number] > 100 for number in (1, 2, 3))


def test_drawing_is_deterministic_in_bytes():
    assert image_hash(make_shapes(3)[2].image) == image_hash(make_shapes(3)[2].image)


@pytest.mark.parametrize(("number", "size"), [(0, 64), (5, 8)])
def test_sets_that_cannot_be_drawn_are_refused(number, size):
    with pytest.raises(DataError, match="cannot draw"):
        make_shapes(number, image_size=size)


# --- the judge, on scenes known by hand -------------------------------------------------------

TRUE_OF_TWINS = [
    "a red circle",
    "A large red circle.",
    "the small blue square",
    "a red small circle",
    "two red circles",
    "there are two red circles",
    "three shapes",
    "there are three shapes",
    "two red circles and a blue square",
    "three shapes: two red circles and a small blue square",
    "a red circle and a red circle",
    "a large red circle, a small red circle and a small blue square",
    "a large red circle , a small red circle , and a small blue square",
    "two circles: a large red circle and a small red circle",
    "two small shapes",
    "a red circle in the top left",
    "a red circle at the top",
    "two red circles at the top",
    "two shapes on the right",
    "there is a blue square in the bottom right corner",
    "in the top left is a red circle",
    "in the top left there is a large red circle and in the bottom right there is a blue square",
    "a red circle above a blue square",
    "the blue square is below the small red circle",
    "the blue square is below a red circle",
    "the large red circle is left of the small red circle",
    "a red circle left of a red circle",
    "a small red circle to the right of a large red circle",
    "the large red circle is to the left of the blue square and above the blue square",
    "the red circle is large and in the top left",
    "the circle is red",
    "the large red circle is left of the small red circle and above the blue square",
    "two red circles above a blue square",
    "the red circle and the red circle",
    "one blue square",
    "one blue square and two red circles",
]
FALSE_OF_TWINS = [
    "",
    ".",
    "a",
    "red",
    "a blue circle",
    "a large blue square",
    "a red square",
    "one red circle",
    "three red circles",
    "two blue squares",
    "two shapes",
    "one shape: a blue square",
    "two shapes: a red circle and a blue square",
    "three circles",
    "a blue square and a blue square",
    "a red circle and a red circle and a red circle",
    "two red circles and a red circle",
    "a large red circle and a large red circle",
    "a red circle in the bottom left",
    "a red circle in the middle",
    "a blue square at the top",
    "two red circles on the left",
    "in the top left there is a small red circle",
    "a red circle below a blue square",
    "a red circle above a red circle",
    "the large red circle is right of the small red circle",
    "the small red circle is left of the blue square",
    "the blue square is left of the blue square",
    "a blue square left of a red circle and a red circle",
    "the red circle is blue",
    "the red circle is large and in the top right",
    "the large red circle is left of the small red circle and below the blue square",
    "a red blue circle",
    "a large small red circle",
]
UNREADABLE = [
    "a red",
    "red circle",
    "a red circle and",
    "a red circle a blue square",
    "and a red circle",
    "two red circle",
    "a red circles",
    "the two red circles",
    "a red circle is",
    "a red circle is is red",
    "a red circle in the",
    "a red circle in the sky",
    "a red circle above",
    "above a red circle",
    "a red circle near a blue square",
    "no green star",
    "a red circle is above and a blue square",
    "a dog on a red circle",
    "a red circle [SEP]",
    "a red circle ; a blue square",
    "four shapes",
    "there is",
    "a red circle, , a blue square",
    "un cercle rouge",
    "a red circle in the top left of a blue square",
    "\u0430 red circle",
]


@pytest.mark.parametrize("caption", TRUE_OF_TWINS)
def test_the_judge_accepts_what_is_true(caption):
    assert is_true_of(TWINS, caption)


@pytest.mark.parametrize("caption", FALSE_OF_TWINS)
def test_the_judge_refuses_what_is_false(caption):
    assert not is_true_of(TWINS, caption)


@pytest.mark.parametrize("caption", UNREADABLE)
def test_the_judge_refuses_what_it_cannot_read(caption):
    with pytest.raises(UnreadableError):
        parse_caption(caption)
    assert not is_true_of(TWINS, caption)


def test_the_middle_is_the_middle_in_both_directions():
    assert is_true_of(LONE, "a large green star in the middle")
    assert is_true_of(LONE, "one shape: a large green star")
    assert not is_true_of(LONE, "a large green star at the top")
    assert not is_true_of(LONE, "one shape: a small green star")


def test_a_caption_that_repeats_itself_is_not_true():
    assert not is_true_of(LONE, "a green star and a green star")
    assert not is_true_of(LONE, " and ".join(["the green star"] * 40))
    assert not is_true_of(TWINS, "a red circle " * 30)


# --- the judge against changed captions -------------------------------------------------------


def mutate(caption, old, new):
    return re.sub(rf"\b{old}\b", new, caption, count=1)


@pytest.mark.parametrize("index", range(120))
def test_one_changed_attribute_of_a_full_description_is_false(index):
    scene = make_scene(5, index)
    # The first caption describes every thing wholly, so any change of a word makes it false,
    # unless it happens to describe the same multiset: the slow twin below decides.
    caption = describe_scene(scene)[0]
    for kinds in (tuple(SIZES), tuple(COLOURS), SHAPES):
        for old in kinds:
            for new in kinds:
                if new == old or not re.search(rf"\b{old}s?\b", caption):
                    continue
                changed = mutate(mutate(caption, old, new), f"{old}s", f"{new}s")
                assert is_true_of(scene, changed) == plainly_true(scene, changed), changed


def plainly_true(scene, caption):
    """Slow twin for lists alone: compares multisets of words for every way to pair them."""
    there = [f"{t.size} {t.colour} {t.shape}" for t in scene.objects]
    said: list[str] = []
    for phrase in re.split(r", | and ", caption):
        number, rest = phrase.split(" ", 1)
        amount = {"a": 1, "an": 1, "two": 2, "three": 3}[number]
        name = rest.removesuffix("s") if amount > 1 else rest
        if amount > 1 and there.count(name) != amount:
            return False
        said += [name] * amount
    return not Counter(said) - Counter(there)


@settings(max_examples=200, deadline=None)
@given(
    index=st.integers(0, 400),
    other=st.integers(0, 400),
    caption=st.integers(0, 4),
)
def test_captions_of_another_scene_are_true_only_when_their_things_are_there(index, other, caption):
    scene, text = make_scene(0, index), describe_scene(make_scene(0, other))[caption]
    if is_true_of(scene, text):
        colours = {word for word in text.split() if word in COLOURS}
        assert colours <= {t.colour for t in scene.objects}


WORDS = (
    *("a", "the", "one", "two", "is", "are", "in", "on", "of", "and", ",", ":", "there", "shape"),
    *("top", "left", "right", "above", "red", "blue", "small", "circle", "circles", "square"),
)


@settings(max_examples=200, deadline=None)
@given(words=st.lists(st.sampled_from(WORDS), max_size=25))
def test_any_words_are_judged_without_an_error(words):
    assert is_true_of(TWINS, " ".join(words)) in (True, False)


def test_ids_lead_back_to_their_scenes():
    record = make_shapes(8, seed=2)[7]
    assert is_shapes_id(record.image_id)
    assert not is_shapes_id("000000493652.jpg")
    assert all(caption_is_true(record.image_id, caption) for caption in record.captions)
    assert not caption_is_true(record.image_id, "three red stars")
    with pytest.raises(DataError, match="'x' is not an image of the built-in set"):
        caption_is_true("x", "a red circle")
