"""Images that were in the model when its process ended: how long, and how many, are remembered."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from captune.serving.engine.suspects import Suspects


def test_an_image_is_counted_by_its_bytes():
    suspects = Suspects()
    assert suspects.count_ends(b"one") == 0
    assert [suspects.note_end(b"one"), suspects.note_end(b"one")] == [1, 2]
    assert suspects.count_ends(b"one") == 2
    assert (suspects.count_ends(b"two"), suspects.count_ends(b"another")) == (0, 0)
    suspects.clear(b"one")
    suspects.clear(b"never seen")
    assert suspects.count_ends(b"one") == 0


def test_an_image_is_forgotten_after_a_while():
    suspects = Suspects(seconds=0.05)
    suspects.note_end(b"one")
    time.sleep(0.1)
    assert suspects.count_ends(b"one") == 0
    assert suspects.note_end(b"one") == 1


def test_the_oldest_images_are_forgotten_first():
    suspects = Suspects(max_images=2)
    for content in (b"one", b"two", b"one", b"three"):
        suspects.note_end(content)
    counts = [suspects.count_ends(content) for content in (b"one", b"two", b"three")]
    assert counts == [2, 0, 1]


@pytest.mark.slow
def test_many_different_images_take_little_memory():
    suspects = Suspects()
    tracemalloc.start()
    for number in range(20_000):
        suspects.note_end(b"%d" % number)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 2_000_000
