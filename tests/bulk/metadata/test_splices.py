"""Splices are applied and undone exactly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captune.bulk.metadata import Splice, apply_splices, restore, undo_bytes
from captune.errors import OutputError


@st.composite
def changes(draw: st.DrawFn) -> tuple[bytes, list[Splice]]:
    content = draw(st.binary(max_size=200))
    cuts = sorted(draw(st.lists(st.integers(0, len(content)), max_size=8)))
    pairs = zip(cuts[::2], cuts[1::2], strict=False)
    splices = [Splice(a, b - a, draw(st.binary(max_size=20))) for a, b in pairs]
    return content, draw(st.permutations(splices))


@given(changes())
def test_undoing_a_change_restores_the_earlier_bytes(case: tuple[bytes, list[Splice]]) -> None:
    content, splices = case
    changed = apply_splices(content, splices)
    assert restore(changed, undo_bytes(content, splices)) == content


def test_ranges_are_replaced_at_their_offsets_in_the_earlier_file() -> None:
    splices = [Splice(6, 5, b"moon"), Splice(0, 0, b"> "), Splice(5, 1, b", ")]
    assert apply_splices(b"hello world!", splices) == b"> hello, moon!"


def test_only_the_bytes_that_differ_are_kept_for_undo() -> None:
    content = b"x" * 1_000_000
    undo = undo_bytes(content, [Splice(0, 1_000_000, content[:500_000] + b"y" + content[:500_000])])
    assert len(undo) < 200


def test_ranges_that_overlap_are_refused() -> None:
    with pytest.raises(ValueError, match="overlaps"):
        apply_splices(b"abcdef", [Splice(0, 3, b""), Splice(2, 2, b"")])


@pytest.mark.parametrize("now", [b"edited by hand", b""])
def test_a_file_that_was_edited_since_is_not_restored(now: bytes) -> None:
    undo = undo_bytes(b"before", [Splice(0, 6, b"after")])
    with pytest.raises(OutputError, match="changed since"):
        restore(now, undo)
