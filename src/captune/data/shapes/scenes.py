"""The scenes of the built-in set: one to three coloured shapes, drawn and described.

A scene follows from its seed and index alone, so that a checker can find it again from an image
id, on any machine and in any process.
"""

from __future__ import annotations

import io
import math
import random
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "blue": (33, 90, 200),
    "green": (34, 150, 70),
    "yellow": (245, 205, 30),
    "purple": (130, 60, 170),
    "orange": (245, 130, 25),
}
SHAPES = ("circle", "square", "triangle", "star")
SIZES = {"small": 0.135, "large": 0.215}
"""Radius of the circle around a shape, as a share of the image's side."""

ROWS = ("top", "middle", "bottom")
COLUMNS = ("left", "middle", "right")

_CORNERS = ((0, 0), (0, 2), (2, 0), (2, 2))
_CENTRES = (0.255, 0.5, 0.745)
_JITTER = 0.025
_SUPERSAMPLING = 4
_COUNT_WEIGHTS = (0.3, 0.45, 0.25)
"""Shares of scenes with one, two and three shapes."""


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One shape of a scene.

    Attributes:
        size: `small` or `large`.
        colour: A key of `COLOURS`.
        shape: One of `SHAPES`.
        row: 0 top, 1 middle, 2 bottom.
        column: 0 left, 1 middle, 2 right.
        x: Centre, share of the width from the left, 0..1.
        y: Centre, share of the height from the top, 0..1.
        turn: Rotation in degrees.
    """

    size: str
    colour: str
    shape: str
    row: int
    column: int
    x: float = 0.5
    y: float = 0.5
    turn: float = 0.0


@dataclass(frozen=True, slots=True)
class Scene:
    """Shapes on a plain background, in reading order: row by row, left to right.

    Attributes:
        objects: One to three shapes, at most one per place.
        background: RGB, 0..255.
    """

    objects: tuple[SceneObject, ...]
    background: tuple[int, int, int] = (250, 250, 250)

    @property
    def composition(self) -> str:
        """Everything a caption can state: equal for scenes that captions cannot distinguish."""
        return ", ".join(
            f"{thing.size} {thing.colour} {thing.shape} {thing.row}{thing.column}"
            for thing in self.objects
        )


@lru_cache(maxsize=65_536)
def make_scene(seed: int, index: int) -> Scene:
    """Return scene number `index` of a seed, which never changes.

    A single shape is in a corner or in the middle; two or three are in corners.
    """
    # A text seed is hashed by SHA-512 inside Random: neighbouring indices are unrelated.
    generator = random.Random(f"captune shapes {seed} {index}")
    number = generator.choices((1, 2, 3), weights=_COUNT_WEIGHTS)[0]
    places = list(_CORNERS) if number > 1 else [*_CORNERS, (1, 1)]
    chosen = sorted(generator.sample(places, number))
    objects = tuple(_make_object(generator, row, column) for row, column in chosen)
    tint = tuple(generator.randint(238, 255) for _ in range(3))
    return Scene(objects, background=(tint[0], tint[1], tint[2]))


def draw_scene(scene: Scene, *, image_size: int) -> bytes:
    """Draw a scene, anti-aliased, as PNG bytes.

    Args:
        scene: What to draw.
        image_size: Side of the square image in pixels.
    """
    side = image_size * _SUPERSAMPLING
    image = Image.new("RGB", (side, side), scene.background)
    draw = ImageDraw.Draw(image)
    for thing in scene.objects:
        _draw_object(draw, thing, side=side)
    # Averaging whole blocks is exact anti-aliasing of the supersampled drawing.
    small = image.reduce(_SUPERSAMPLING)
    buffer = io.BytesIO()
    small.save(buffer, format="PNG")
    return buffer.getvalue()


def _make_object(generator: random.Random, row: int, column: int) -> SceneObject:
    return SceneObject(
        size=generator.choice(tuple(SIZES)),
        colour=generator.choice(tuple(COLOURS)),
        shape=generator.choice(SHAPES),
        row=row,
        column=column,
        x=_CENTRES[column] + generator.uniform(-_JITTER, _JITTER),
        y=_CENTRES[row] + generator.uniform(-_JITTER, _JITTER),
        turn=generator.uniform(-12.0, 12.0),
    )


def _draw_object(draw: ImageDraw.ImageDraw, thing: SceneObject, *, side: int) -> None:
    centre = (thing.x * side, thing.y * side)
    radius = SIZES[thing.size] * side
    colour = COLOURS[thing.colour]
    if thing.shape == "circle":
        # Smaller than the circle around the other shapes, for about equal areas.
        radius *= 0.88
        box = (centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius)
        draw.ellipse(box, fill=colour)
        return
    draw.polygon(_outline(thing, centre=centre, radius=radius), fill=colour)


def _outline(
    thing: SceneObject, *, centre: tuple[float, float], radius: float
) -> list[tuple[float, float]]:
    # (number of points, inner radius over outer radius, degrees of the first point)
    points, inner, start = {
        "square": (4, 1.0, 45.0),
        "triangle": (3, 1.0, -90.0),
        "star": (10, 0.42, -90.0),
    }[thing.shape]
    outline = []
    for number in range(points):
        angle = math.radians(start + thing.turn + number * 360.0 / points)
        reach = radius * (inner if number % 2 and thing.shape == "star" else 1.0)
        outline.append((centre[0] + reach * math.cos(angle), centre[1] + reach * math.sin(angle)))
    return outline
