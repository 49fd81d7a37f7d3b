"""The model of `captune caption`: which ones are loaded before they are known to be needed."""

from __future__ import annotations

import json

import pytest

from captune.cli.bulk.model import CommandModel
from captune.errors import ModelError


@pytest.fixture
def exported(tmp_path):
    """An exported model that cannot be loaded, and a photograph beside it."""
    folder = tmp_path / "exported"
    folder.mkdir()
    (folder / "export.json").write_text(json.dumps({"schema": 99}))
    (tmp_path / "photo.jpg").write_bytes(b"")
    return folder


def _model(folder) -> CommandModel:
    return CommandModel(str(folder), "auto", "auto", "auto", None)


def test_an_exported_model_is_loaded_early_for_few_images(exported):
    photo = str(exported.with_name("photo.jpg"))
    chosen = _model(exported).load_early([photo] * 16)
    assert chosen.early is not None
    # What loading raised is raised where the model is needed.
    with pytest.raises(ModelError, match="schema 99 is not supported"):
        chosen.load(16)


@pytest.mark.parametrize("inputs", [[], ["photo.jpg"] * 17, ["."], ["photos.tar"], ["*.jpg"]])
def test_other_inputs_may_be_many_images_so_nothing_is_loaded(exported, inputs, monkeypatch):
    monkeypatch.chdir(exported.parent)
    (exported.parent / "photos.tar").write_bytes(b"")
    assert _model(exported).load_early(inputs).early is None


def test_a_model_for_torch_is_loaded_when_it_is_needed(exported):
    photo = str(exported.with_name("photo.jpg"))
    assert _model(exported.parent).load_early([photo]).early is None
