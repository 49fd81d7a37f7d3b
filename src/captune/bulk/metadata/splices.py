"""Changes of a file as replaced byte ranges, so that undoing them needs only those ranges.

A photograph of 10 MB whose caption is embedded changes in a few hundred bytes. `undo_bytes` keeps
what these were, and `restore` returns the earlier file bit for bit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from captune.errors import OutputError

_MAGIC = b"captune-splices-1\n"


@dataclass(frozen=True, slots=True)
class Splice:
    """One replaced range: `length` bytes at `offset` of the earlier file become `new`."""

    offset: int
    length: int
    new: bytes


def apply_splices(content: bytes, splices: Sequence[Splice]) -> bytes:
    """Return the content with all ranges replaced; their offsets are those of `content`.

    Raises:
        ValueError: Ranges overlap, or extend past the end.
    """
    parts: list[bytes | memoryview] = []
    at = 0
    view = memoryview(content)
    for splice in sorted(splices, key=lambda splice: (splice.offset, splice.length)):
        end = splice.offset + splice.length
        if splice.offset < at or end > len(content):
            raise ValueError(f"the range {splice.offset} to {end} overlaps another or the end")
        parts += [view[at : splice.offset], splice.new]
        at = end
    return b"".join([*parts, view[at:]])


def undo_bytes(content: bytes, splices: Sequence[Splice]) -> bytes:
    """Return what `restore` needs to turn the changed content into `content` again."""
    ranges, old, moved = [], [], 0
    for splice in sorted(splices, key=lambda splice: (splice.offset, splice.length)):
        small = _trim(content, splice)
        before = content[small.offset : small.offset + small.length]
        ranges.append([small.offset + moved, len(small.new), len(before)])
        old.append(before)
        moved += len(small.new) - len(before)
    header = {"ranges": ranges, "digest": _digest(content)}
    return _MAGIC + json.dumps(header).encode("ascii") + b"\n" + b"".join(old)


def restore(now: bytes, undo: bytes) -> bytes:
    """Return the earlier content.

    Raises:
        OutputError: The content is not what the change produced.
    """
    if not undo.startswith(_MAGIC):
        raise OutputError(
            "the stored undo bytes are not those of a metadata change",
            fix="restore the file from a copy; nothing was changed",
        )
    header, _, old = undo[len(_MAGIC) :].partition(b"\n")
    kept = json.loads(header)
    splices, at = [], 0
    for offset, length, num_old in kept["ranges"]:
        splices.append(Splice(offset, length, old[at : at + num_old]))
        at += num_old
    try:
        earlier = apply_splices(now, splices)
    except ValueError:
        earlier = b""
    if _digest(earlier) != kept["digest"]:
        raise OutputError(
            "the file has been changed since captune wrote it, and is kept",
            fix="restore the file from a copy if the earlier version is needed",
        )
    return earlier


def _trim(content: bytes, splice: Splice) -> Splice:
    """Return the same change without the unchanged bytes at both ends."""
    old = content[splice.offset : splice.offset + splice.length]
    head = _common_length(old, splice.new)
    rest_old, rest_new = old[head:], splice.new[head:]
    tail = _common_length(rest_old[::-1], rest_new[::-1])
    return Splice(splice.offset + head, len(rest_old) - tail, rest_new[: len(rest_new) - tail])


def _common_length(one: bytes, other: bytes) -> int:
    """Return the length of the common start, by bisection: slices compare quickly."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
