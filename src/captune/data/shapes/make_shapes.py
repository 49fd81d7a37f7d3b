"""The built-in data set: coloured shapes, five true captions each, and a judge of any caption.

It needs no network and no photographs, and because every scene is known, a caption can be called
true or false, which no set of photographs allows.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from captune.data.shapes.scene_captions import describe_scene
from captune.data.shapes.scene_grammar import Claims, Mention, UnreadableError, parse_caption
from captune.data.shapes.scenes import COLUMNS, ROWS, Scene, SceneObject, draw_scene, make_scene
from captune.errors import DataError
from captune.records import CaptionRecord
from captune.suggest import format_count

_IMAGE_ID = re.compile(r"^shapes-(?P<seed>\d{1,18})-(?P<index>\d{1,18})$")
_MAX_THINGS = 6


def make_shapes(num_images: int, *, seed: int = 0, image_size: int = 64) -> list[CaptionRecord]:
    """Draw the first `num_images` scenes of a seed.

    Args:
        num_images: Scenes; the first n of a larger set are the smaller set.
        seed: Another seed gives another set.
        image_size: Side of the square PNG images in pixels; the scenes do not depend on it.

    Returns:
        Records with PNG bytes, five captions each, no split, and the scene's composition as
        group: split by group, no test scene occurs in training.

    Raises:
        DataError: No image is requested, or images under 16 pixels.
    """
    if num_images < 1 or image_size < 16:
        raise DataError(
            f"cannot draw {format_count(num_images, 'scene')} of"
            f" {format_count(image_size, 'pixel')}",
            fix="at least 1 scene of at least 16 pixels",
        )
    records = []
    for index in range(num_images):
        scene = make_scene(seed, index)
        image_id = f"shapes-{seed}-{index:05d}"
        records.append(
            CaptionRecord(
                image_id=image_id,
                image=draw_scene(scene, image_size=image_size),
                captions=describe_scene(scene),
                group=scene.composition,
                file_name=f"{image_id}.png",
            )
        )
    return records


def is_shapes_id(image_id: str) -> bool:
    """Return whether an image id belongs to the built-in set, whose captions can be judged."""
    return _IMAGE_ID.match(image_id) is not None


def caption_is_true(image_id: str, caption: str) -> bool:
    """Judge whether everything that a caption states holds in the scene of an image.

    Raises:
        DataError: The id is not one of the built-in set.
    """
    match = _IMAGE_ID.match(image_id)
    if match is None:
        raise DataError(
            f"{image_id!r} is not an image of the built-in set `shapes`",
            fix="use an id that load_records('shapes') gives",
        )
    return is_true_of(make_scene(int(match["seed"]), int(match["index"])), caption)


def is_true_of(scene: Scene, caption: str) -> bool:
    """Judge whether everything that a caption states holds in a scene.

    Every object mentioned exists with its size, colour, shape and place; things introduced with
    "a" or a number are different things; a stated number is exact; relations hold. What a caption
    leaves out does not count against it. A caption that cannot be read is false.
    """
    try:
        claims = parse_caption(caption)
    except UnreadableError:
        return False
    if sum(mention.number for mention in claims.mentions) > _MAX_THINGS:
        return False
    for mention in claims.mentions:
        there = sum(_fits(thing, mention) for thing in scene.objects)
        if there < mention.number or (mention.is_exact and there != mention.number):
            return False
    return any(_relations_hold(claims, chosen) for chosen in _choose_things(scene, claims))


def _fits(thing: SceneObject, mention: Mention) -> bool:
    places = {ROWS[thing.row], COLUMNS[thing.column]}
    if "middle" in mention.places and not (thing.row == thing.column == 1):
        return False
    return mention.properties <= {thing.size, thing.colour, thing.shape} and (
        mention.places <= places
    )


def _choose_things(scene: Scene, claims: Claims) -> Iterator[list[tuple[SceneObject, ...]]]:
    """Enumerate which objects of the scene each mention may refer to."""
    options = [
        list(
            itertools.combinations([t for t in scene.objects if _fits(t, mention)], mention.number)
        )
        for mention in claims.mentions
    ]
    for chosen in itertools.product(*options):
        new = [
            thing
            for mention, things in zip(claims.mentions, chosen, strict=True)
            if mention.is_new
            for thing in things
        ]
        if len({id(thing) for thing in new}) == len(new):
            yield list(chosen)


def _relations_hold(claims: Claims, chosen: list[tuple[SceneObject, ...]]) -> bool:
    meant = {id(m): things for m, things in zip(claims.mentions, chosen, strict=True)}
    return all(
        _lies(first, relation.kind, second)
        for relation in claims.relations
        for first in meant[id(relation.subject)]
        for second in meant[id(relation.object)]
    )


def _lies(first: SceneObject, kind: str, second: SceneObject) -> bool:
    return {
        "left": first.column < second.column,
        "right": first.column > second.column,
        "above": first.row < second.row,
        "below": first.row > second.row,
    }[kind]
