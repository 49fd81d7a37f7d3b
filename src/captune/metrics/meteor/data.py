"""METEOR's tables, memory-mapped from a cache built once from an installed pycocoevalcap."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from captune.errors import MetricError, MissingExtraError, OutputError
from captune.metrics.meteor.build import MeteorSource, build_arrays
from captune.storage import find_cache_folder

Ints = npt.NDArray[np.int64]

# Seconds; building takes about 20.
_MAX_WAIT = 300.0
_REINSTALL = 'pip install --force-reinstall "pycocoevalcap==1.2"'
FORMAT = 1
"""Format version, increased when the arrays change; caches of other versions are not read."""


@dataclass(frozen=True, slots=True)
class MeteorData:
    """METEOR's tables for English; arrays are memory-mapped.

    Attributes:
        table_words: bytes (W,), sorted: the words of the paraphrase table.
        trie_keys: int64 (nodes,), sorted: `parent * W + word`; node n has key n - 1, the root is 0.
        rule_starts: int32 (nodes + 2,): the rules of node n are `rule_starts[n:n + 2]`.
        rule_targets: int32 (rules,): the node of the phrase that each rule allows, in file order.
        is_target: bool (nodes + 1,): whether some rule allows the node.
        synset_words: bytes (S,), sorted: the words of WordNet.
        synset_starts: int32 (S + 1,): the synsets of word s are `synset_starts[s:s + 2]`.
        synset_ids: int32: WordNet 3 synset numbers.
        bases: Irregular form -> its base forms.
        function_words: Words that weigh less.
        prefixes: Words that keep their full stop.
    """

    table_words: npt.NDArray[np.bytes_]
    trie_keys: Ints
    rule_starts: npt.NDArray[np.int32]
    rule_targets: npt.NDArray[np.int32]
    is_target: npt.NDArray[np.bool_]
    synset_words: npt.NDArray[np.bytes_]
    synset_starts: npt.NDArray[np.int32]
    synset_ids: npt.NDArray[np.int32]
    bases: Mapping[str, Sequence[str]]
    function_words: frozenset[str]
    prefixes: frozenset[str]


def load_data() -> MeteorData:
    """Return the tables, building the cache on first use (about 20 seconds).

    Raises:
        MissingExtraError: pycocoevalcap is not installed.
        MetricError: Its data files are missing or damaged.
        OutputError: The cache folder cannot be written.
    """
    source = find_source()
    folder = find_cache_folder() / f"meteor-{_fingerprint(source)}"
    if not folder.is_dir():
        _build(source, folder)
    try:
        return _open(folder)
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise MetricError(
            f"the METEOR cache {folder} cannot be read: {error}",
            fix="delete the folder; it is rebuilt",
        ) from error


def find_source() -> MeteorSource:
    """Return the data files of the installed pycocoevalcap.

    Raises:
        MissingExtraError: It is not installed.
        MetricError: It is installed without its data.
    """
    spec = importlib.util.find_spec("pycocoevalcap")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            "METEOR needs the paraphrase table and synsets that come with pycocoevalcap"
            " (data only, no Java)",
            fix='pip install "captune[meteor]"',
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / "meteor"
    source = MeteorSource(folder / "meteor-1.5.jar", folder / "data" / "paraphrase-en.gz")
    for path in (source.jar, source.paraphrases):
        if not path.is_file():
            raise MetricError(
                f"pycocoevalcap lacks {path}",
                fix=_REINSTALL,
            )
    return source


def _fingerprint(source: MeteorSource) -> str:
    """Return version and checksums of the data, read from gzip and zip without unpacking."""
    import zipfile
    from importlib import metadata

    with source.paraphrases.open("rb") as file:
        file.seek(-8, os.SEEK_END)
        table = file.read().hex()
    try:
        with zipfile.ZipFile(source.jar) as archive:
            lists = sum(info.CRC for info in archive.infolist() if info.file_size) & 0xFFFFFFFF
    except zipfile.BadZipFile as error:
        raise MetricError(
            f"{source.jar} is damaged: {error}",
            fix=_REINSTALL,
        ) from error
    try:
        version = metadata.version("pycocoevalcap")
    except metadata.PackageNotFoundError:
        version = "unknown"
    return f"{FORMAT}-{version}-{table}-{lists:08x}"


def _build(source: MeteorSource, folder: Path) -> None:
    """Build the tables once, even if several processes need them at the same time."""
    from captune.storage import lock_folder, write_folder

    try:
        with lock_folder(folder.parent, purpose="meteor", wait=_MAX_WAIT):
            if not folder.is_dir():
                write_folder(folder, lambda temporary: build_arrays(source, temporary))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise MetricError(f"{source.paraphrases} is damaged: {error}", fix=_REINSTALL) from error
    except OutputError as error:
        raise OutputError(
            f"the METEOR cache {folder} cannot be written: {error.what}",
            fix=f"{error.fix}; or set CAPTUNE_CACHE to a folder that can be written",
        ) from error


def _open(folder: Path) -> MeteorData:
    lists = json.loads((folder / "lists.json").read_text(encoding="utf-8"))

    def mapped(name: str) -> npt.NDArray[np.generic]:
        return np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False))

    names = (
        *("table_words", "trie_keys", "rule_starts", "rule_targets", "is_target"),
        *("synset_words", "synset_starts", "synset_ids"),
    )
    arrays: dict[str, Any] = {name: mapped(name) for name in names}
    return MeteorData(
        **arrays,
        bases=lists["bases"],
        function_words=frozenset(lists["function_words"]),
        prefixes=frozenset(lists["prefixes"]),
    )
