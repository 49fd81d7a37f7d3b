"""The journal of several folders is where all of them are, if captune may write there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from captune.bulk import BulkSettings, choose_outputs
from captune.bulk.state.place import choose_place
from captune.errors import OutputError

TEXTS = BulkSettings(to=("txt",))


def folder_of_journal(*inputs: Path) -> Path:
    place = choose_place(choose_outputs(TEXTS), TEXTS, inputs=tuple(map(str, inputs)))
    assert place is not None
    return place.folder


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    one, other = tmp_path / "one", tmp_path / "other" / "deep"
    one.mkdir()
    other.mkdir(parents=True)
    return one, other


def test_the_journal_is_in_the_folder_around_all_inputs(tmp_path, folders):
    assert folder_of_journal(*folders) == tmp_path
    assert folder_of_journal(folders[0]) == folders[0]


def test_a_data_set_of_the_hub_has_no_folder(folders):
    assert folder_of_journal(Path("owner/name")) == Path()
    assert folder_of_journal(Path("owner/name"), folders[0]) == folders[0]


def test_folders_with_only_a_protected_folder_in_common_are_refused(tmp_path, folders, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != tmp_path)
    with pytest.raises(OutputError, match=r"have only the folder .* in common") as caught:
        folder_of_journal(*folders)
    assert "one after the other" in caught.value.fix
    assert folder_of_journal(tmp_path, folders[1]) == tmp_path


def test_folders_on_two_drives_have_the_current_folder_in_common(folders, monkeypatch):
    def refuse(_paths: object) -> str:
        raise ValueError("Paths don't have the same drive")

    monkeypatch.setattr(os.path, "commonpath", refuse)
    assert folder_of_journal(*folders) == Path()
