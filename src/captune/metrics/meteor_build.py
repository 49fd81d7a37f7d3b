"""METEOR's data turned into arrays once: paraphrases as a trie, synsets and word lists.

The wheel's 62 MB of text takes a minute to read into dictionaries and a gigabyte to hold; the
arrays are mapped from disk in no time. Data only: no Java runs, nothing of the program is read.
"""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.progress import Progress

Ints = npt.NDArray[np.int64]

MAX_PHRASE = 7
"""Words of the longest phrase in the paraphrase table."""


@dataclass(frozen=True, slots=True)
class MeteorSource:
    """Where the wheel keeps METEOR's data.

    Attributes:
        jar: `meteor-1.5.jar`, read as a zip file.
        paraphrases: `data/paraphrase-en.gz`.
    """

    jar: Path
    paraphrases: Path


def build_arrays(source: MeteorSource, folder: Path) -> None:
    """Write every array that scoring needs into a folder.

    Args:
        source: The wheel's files.
        folder: An existing, empty folder.

    Raises:
        OSError: A file cannot be read or written.
    """
    with Progress(transient=True) as progress:
        steps = progress.add_task("METEOR: reading 5 million paraphrases (once)", total=None)
        phrases, sources, targets = _read_rules(source.paraphrases, progress)
        progress.update(steps, total=100, completed=70)
        _write_trie(folder, phrases=phrases, sources=sources, targets=targets)
        progress.update(steps, completed=95)
        _write_synsets(folder, source.jar)
        _write_lists(folder, source.jar)


def _read_rules(path: Path, progress: Progress) -> tuple[list[str], Ints, Ints]:
    """All phrases, and the numbers of each rule's source and target phrase, in file order."""
    size = path.stat().st_size
    bar = progress.add_task("  paraphrase table", total=size)
    numbers: dict[str, int] = {}
    sources: list[int] = []
    targets: list[int] = []
    with path.open("rb") as raw, gzip.open(raw, "rt", encoding="utf-8", newline="\n") as lines:
        while block := list(islice(lines, 3 * 100_000)):
            for source, target in _pairs(block):
                sources.append(numbers.setdefault(source, len(numbers)))
                targets.append(numbers.setdefault(target, len(numbers)))
            progress.update(bar, completed=raw.tell())
    return (
        list(numbers),
        np.array(sources, dtype=np.int64),
        np.array(targets, dtype=np.int64),
    )


def _pairs(block: Sequence[str]) -> Iterator[tuple[str, str]]:
    # A rule is three lines: probability (which METEOR does not use to match), source, target.
    return zip(
        map(str.strip, block[1::3]),
        map(str.strip, block[2::3]),
        strict=True,
    )


def _write_trie(folder: Path, *, phrases: Sequence[str], sources: Ints, targets: Ints) -> None:
    split = [phrase.split() for phrase in phrases]
    words = sorted({word for phrase in split for word in phrase})
    number = {word: index for index, word in enumerate(words)}
    keys, nodes = _grow([[number[word] for word in phrase] for phrase in split], len(words))
    source_nodes, target_nodes = nodes[sources], nodes[targets]
    order = np.argsort(source_nodes, kind="stable")
    starts = np.zeros(len(keys) + 2, dtype=np.int64)
    np.cumsum(np.bincount(source_nodes, minlength=len(keys) + 1), out=starts[1:])
    is_target = np.zeros(len(keys) + 1, dtype=np.bool_)
    is_target[target_nodes] = True
    np.save(folder / "table_words.npy", _pack_words(words))
    np.save(folder / "trie_keys.npy", keys)
    np.save(folder / "rule_starts.npy", starts.astype(np.int32))
    np.save(folder / "rule_targets.npy", target_nodes[order].astype(np.int32))
    np.save(folder / "is_target.npy", is_target)


def _grow(phrases: Sequence[Sequence[int]], num_words: int) -> tuple[Ints, Ints]:
    """Keys `parent * num_words + word` in node order, and each phrase's node.

    Nodes are numbered level by level, the root being 0, so that the keys of all levels together
    are sorted and node `n` has key number `n - 1`.
    """
    lengths = np.array([len(phrase) for phrase in phrases], dtype=np.int64)
    table = np.zeros((len(phrases), MAX_PHRASE), dtype=np.int64)
    flat = np.array([word for phrase in phrases for word in phrase], dtype=np.int64)
    table[np.arange(MAX_PHRASE) < lengths[:, None]] = flat
    nodes = np.zeros(len(phrases), dtype=np.int64)
    keys: list[Ints] = []
    count = 0
    for level in range(int(lengths.max(initial=0))):
        longer = np.flatnonzero(lengths > level)
        unique, inverse = np.unique(
            nodes[longer] * num_words + table[longer, level], return_inverse=True
        )
        nodes[longer] = count + 1 + inverse
        count += len(unique)
        keys.append(unique)
    return np.concatenate(keys) if keys else np.zeros(0, dtype=np.int64), nodes


def _write_synsets(folder: Path, jar: Path) -> None:
    lines = _read_text(jar, "synonym/english.synsets").split("\n")
    # A word with an underscore never comes out of METEOR's own clean-up.
    entries = sorted(
        (word.strip().encode(), [int(number) for number in synsets.split()])
        for word, synsets in zip(lines[::2], lines[1::2], strict=False)
        if word.strip() and "_" not in word
    )
    starts = np.cumsum([0, *(len(synsets) for _, synsets in entries)])
    flat = np.array([number for _, synsets in entries for number in synsets], dtype=np.int32)
    np.save(folder / "synset_words.npy", np.array([word for word, _ in entries]))
    np.save(folder / "synset_starts.npy", starts.astype(np.int32))
    np.save(folder / "synset_ids.npy", flat)


def _write_lists(folder: Path, jar: Path) -> None:
    lines = _read_text(jar, "synonym/english.exceptions").split("\n")
    bases: dict[str, list[str]] = {}
    for base, inflected in zip(lines[::2], lines[1::2], strict=False):
        for word in inflected.split():
            bases.setdefault(word, []).append(base.strip())
    prefixes = [
        line.strip()
        for line in _read_text(jar, "nonbreaking/english.prefixes").split("\n")
        if line.strip() and "#" not in line
    ]
    lists = {
        "bases": bases,
        "function_words": _read_text(jar, "function/english.words").split(),
        "prefixes": prefixes,
    }
    (folder / "lists.json").write_text(json.dumps(lists), encoding="utf-8")


def _read_text(jar: Path, name: str) -> str:
    with zipfile.ZipFile(jar) as archive:
        return archive.read(name).decode("utf-8")


def _pack_words(words: Sequence[str]) -> npt.NDArray[np.bytes_]:
    return np.array([word.encode() for word in words])
