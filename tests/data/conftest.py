"""Small images and folders for the tests of the data package."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Draw = Callable[..., Path]


@pytest.fixture
def draw_image() -> Draw:
    def draw(path: Path, colour: tuple[int, int, int] = (200, 30, 30), side: int = 24) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (side, side), colour).save(path)
        return path

    return draw


@pytest.fixture
def png_bytes() -> Callable[..., bytes]:
    def encode(colour: tuple[int, int, int] = (10, 20, 30), side: int = 16) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", (side, side), colour).save(buffer, format="PNG")
        return buffer.getvalue()

    return encode
