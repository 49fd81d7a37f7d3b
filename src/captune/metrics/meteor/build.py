"""METEOR's data converted to arrays once: paraphrases as a trie, synsets and word lists.

The wheel's 62 MB of text take a minute to read into dictionaries and a gigabyte of memory; the
arrays are mapped from disk at once. Only data is read: no Java runs, and no program code is read.
"""

from __future__ import annotations

import gzip
import json
from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from captune.progress import Progress, show_progress

Ints = npt.NDArray[np.int64]

MAX_PHRASE = 7
"""Number of words of the longest phrase in the paraphrase table."""


@dataclass(frozen=True, slots=True)
class MeteorSource:
    """The files of the wheel that hold METEOR's data.

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
    rules = _read_rules(source.paraphrases)
    with show_progress("METEOR: writing the tables (once)", 3, unit="tables") as progress:
        _write_trie(folder, rules)
        progress.advance()
        _write_synsets(folder, source.jar)
        progress.advance()
        _write_lists(folder, source.jar)
        progress.advance()


class _Rules(NamedTuple):
    """The paraphrase table as word numbers: all source phrases, then every rule's target.

    Attributes:
        words: The table's words by number.
        flat: int32: the concatenated word numbers of all phrases.
        lengths: int8 (phrases,): words of each phrase.
        sources: int32 (rules,): the source phrase of each rule, in file order.
    """

    words: list[str]
    flat: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int8]
    sources: npt.NDArray[np.int32]


def _read_rules(path: Path) -> _Rules:
    num_megabytes = path.stat().st_size // 2**20
    label = "METEOR: reading 5 million paraphrases (once)"
    with show_progress(label, num_megabytes, unit="MB") as progress:
        return _read_blocks(path, progress)


def _read_blocks(path: Path, progress: Progress) -> _Rules:
    number: defaultdict[str, int] = defaultdict()
    number.default_factory = number.__len__
    sources, targets = _Phrases(number), _Phrases(number)
    owners = array("i")
    last = ""
    with path.open("rb") as raw, gzip.open(raw, "rt", encoding="utf-8", newline="\n") as lines:
        # A rule is three lines: probability (not used), source, target.
        while block := list(islice(lines, 3 * 50_000)):
            new = []
            for source in block[1::3]:
                # The table is sorted by source, so equal phrases are consecutive.
                if source != last:
                    new.append(source)
                    last = source
                owners.append(len(sources.lengths) + len(new) - 1)
            sources.add(new)
            targets.add(block[2::3])
            progress.move_to(raw.tell() // 2**20)
    return _Rules(
        words=list(number),
        flat=np.concatenate([np.asarray(part.flat) for part in (sources, targets)]),
        lengths=np.concatenate([np.asarray(part.lengths) for part in (sources, targets)]),
        sources=np.asarray(owners),
    )


class _Phrases:
    """Word numbers of phrases, in arrays that grow: lists would need a gigabyte."""

    def __init__(self, number: defaultdict[str, int]) -> None:
        self.flat = array("i")
        self.lengths = array("b")
        self._number = number

    def add(self, phrases: Sequence[str]) -> None:
        self.lengths.extend(phrase.count(" ") + 1 for phrase in phrases)
        self.flat.extend(map(self._number.__getitem__, " ".join(phrases).split()))


def _write_trie(folder: Path, rules: _Rules) -> None:
    order = sorted(range(len(rules.words)), key=rules.words.__getitem__)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    keys, nodes = _grow(place[rules.flat], rules.lengths, num_words=len(order))
    num_sources = len(rules.lengths) - len(rules.sources)
    source_nodes, target_nodes = nodes[rules.sources], nodes[num_sources:]
    starts = np.zeros(len(keys) + 2, dtype=np.int32)
    np.cumsum(np.bincount(source_nodes, minlength=len(keys) + 1), out=starts[1:])
    is_target = np.zeros(len(keys) + 1, dtype=np.bool_)
    is_target[target_nodes] = True
    np.save(folder / "table_words.npy", np.array([rules.words[index].encode() for index in order]))
    np.save(folder / "trie_keys.npy", keys)
    np.save(folder / "rule_starts.npy", starts)
    by_source = np.argsort(source_nodes, kind="stable")
    np.save(folder / "rule_targets.npy", target_nodes[by_source].astype(np.int32))
    np.save(folder / "is_target.npy", is_target)


def _grow(flat: Ints, lengths: npt.NDArray[np.int8], *, num_words: int) -> tuple[Ints, Ints]:
    """Return keys `parent * num_words + word` in node order, and each phrase's node.

    Nodes are numbered level by level, the root being 0, so that the keys of all levels together
    are sorted and node `n` has key number `n - 1`.
    """
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    nodes = np.zeros(len(lengths), dtype=np.int64)
    keys = [np.zeros(0, dtype=np.int64)]
    count = 0
    for level in range(int(lengths.max(initial=0))):
        longer = np.flatnonzero(lengths > level)
        unique, inverse = np.unique(
            nodes[longer] * num_words + flat[starts[longer] + level], return_inverse=True
        )
        nodes[longer] = count + 1 + inverse
        count += len(unique)
        keys.append(unique)
    return np.concatenate(keys), nodes


def _write_synsets(folder: Path, jar: Path) -> None:
    lines = _read_text(jar, "synonym/english.synsets").split("\n")
    # METEOR's normalization never yields a word with an underscore.
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
    import zipfile

    with zipfile.ZipFile(jar) as archive:
        return archive.read(name).decode("utf-8")
