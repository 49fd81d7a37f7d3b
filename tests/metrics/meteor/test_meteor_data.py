"""METEOR's cache: built once from the wheel's data, completely or with a clear error."""

from __future__ import annotations

import gzip
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from captune.errors import MetricError, MissingExtraError, OutputError
from captune.metrics.meteor.data import find_source, load_data
from support.metrics import meteor_language as language


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = language.write_wheel(tmp_path / "wheel")
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setenv("CAPTUNE_CACHE", str(tmp_path / "cache"))
    return package


def test_every_rule_and_word_of_the_wheel_is_in_the_arrays(wheel: Path) -> None:
    data = load_data()
    words = [word.decode() for word in data.table_words]
    assert words == sorted({w for rule in language.PARAPHRASES for p in rule for w in p.split()})
    phrases = {0: ""}
    for node, key in enumerate(data.trie_keys.tolist(), start=1):
        parent, word = divmod(key, len(words))
        phrases[node] = f"{phrases[parent]} {words[word]}".strip()
    rules = [
        (phrases[node], phrases[target])
        for node in phrases
        for target in data.rule_targets[data.rule_starts[node] : data.rule_starts[node + 1]]
    ]
    assert sorted(rules) == sorted(language.PARAPHRASES)
    assert {phrases[node] for node in np.flatnonzero(data.is_target)} == {b for _, b in rules}
    bounds = data.synset_starts
    synsets = {
        word.decode(): data.synset_ids[bounds[place] : bounds[place + 1]].tolist()
        for place, word in enumerate(data.synset_words)
    }
    assert synsets == language.SYNSETS
    assert data.bases["rode"] == ["ride"]
    assert data.function_words == set(language.FUNCTION_WORDS)
    assert data.prefixes == set(language.PREFIXES)


def test_the_cache_is_built_once_and_another_content_gets_its_own(
    wheel: Path, tmp_path: Path
) -> None:
    load_data()
    (folder,) = (tmp_path / "cache").iterdir()
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    load_data()
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    with gzip.open(wheel / "meteor" / "data" / "paraphrase-en.gz", "wt") as file:
        file.write("0.1\na\nthe\n")
    assert len(load_data().rule_targets) == 1
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_without_captune_cache_the_users_cache_folder_is_used(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CAPTUNE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    load_data()
    assert [path.name for path in (tmp_path / "xdg").iterdir()] == ["captune"]
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    load_data()
    assert (tmp_path / "home" / ".cache" / "captune").is_dir()


def test_a_missing_wheel_is_named_with_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    monkeypatch.delitem(sys.modules, "pycocoevalcap", raising=False)
    with pytest.raises(MissingExtraError) as caught:
        find_source()
    assert str(caught.value) == (
        "METEOR needs the paraphrase table and synsets that come with pycocoevalcap"
        ' (data only, no Java)\n  fix:   pip install "captune[meteor]"'
    )


def test_a_wheel_without_its_data_is_named(wheel: Path) -> None:
    path = wheel / "meteor" / "data" / "paraphrase-en.gz"
    path.unlink()
    with pytest.raises(MetricError, match=r"lacks .*paraphrase-en\.gz"):
        load_data()


@pytest.mark.parametrize("cut", [9, 40, 150])
def test_a_damaged_table_leaves_no_cache_behind(wheel: Path, tmp_path: Path, cut: int) -> None:
    path = wheel / "meteor" / "data" / "paraphrase-en.gz"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(MetricError) as caught:
        load_data()
    assert "paraphrase-en.gz is damaged" in str(caught.value)
    assert 'pip install --force-reinstall "pycocoevalcap==1.2"' in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_a_damaged_jar_is_named(wheel: Path) -> None:
    (wheel / "meteor" / "meteor-1.5.jar").write_bytes(b"no zip")
    with pytest.raises(MetricError, match=r"meteor-1\.5\.jar is damaged"):
        load_data()


def test_the_error_for_a_damaged_cache_names_what_to_delete(wheel: Path, tmp_path: Path) -> None:
    load_data()
    (folder,) = (tmp_path / "cache").iterdir()
    (folder / "trie_keys.npy").write_bytes(b"")
    with pytest.raises(MetricError) as caught:
        load_data()
    assert f"the METEOR cache {folder} cannot be read" in str(caught.value)
    assert "delete the folder; it is rebuilt" in str(caught.value)


def test_a_cache_folder_that_cannot_be_written_is_named(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CAPTUNE_CACHE", os.fspath(tmp_path / "file" / "sub"))
    with pytest.raises(OutputError, match="set CAPTUNE_CACHE to a folder that can be written"):
        load_data()
