"""Interrupted downloads from the hub: what is requested again, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from captune.errors import ModelError
from captune.models import Captioner, build_size, load_captioner, train_tokenizer
from captune.recipe import TokenizerConfig
from support.hub.repos import HubServer

BLOCK = 2**16


@pytest.fixture
def saved(hub: HubServer, tmp_path: Path) -> Captioner:
    """A tiny captioner, stored on the hub as `tiny/blip`."""
    tokenizer = train_tokenizer(["a red circle"], TokenizerConfig(kind="word", min_count=1))
    captioner = build_size("blip-tiny", tokenizer)
    captioner.save(tmp_path / "blip")
    hub.add("models/tiny/blip", tmp_path / "blip")
    return captioner


@pytest.mark.slow
def test_only_the_rest_of_a_file_is_requested_again(
    hub: HubServer, saved: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The client keeps complete blocks; its default of 10 MiB is larger than the file.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", BLOCK)
    hub.cuts["model.safetensors"] = 1
    loaded = load_captioner("tiny/blip")
    size = len(hub.repos["models/tiny/blip"].files["model.safetensors"])
    arrived = size // 2 // BLOCK * BLOCK
    assert arrived > 0
    whole, rest = hub.asked("^GET .*/model.safetensors")
    assert whole.endswith("/model.safetensors")
    assert rest == f"{whole} bytes={arrived}-"
    theirs = loaded.model.state_dict()
    assert all(
        torch.equal(weight, theirs[name]) for name, weight in saved.model.state_dict().items()
    )


@pytest.mark.slow
def test_complete_files_are_not_downloaded_again(hub: HubServer, saved: Captioner) -> None:
    hub.refusals.append(("^GET .*/model.safetensors", 403))
    with pytest.raises(ModelError, match="tiny/blip"):
        load_captioner("tiny/blip")
    hub.refusals.clear()
    load_captioner("tiny/blip")
    assert len(hub.asked("^GET .*/config.json")) == 1
    assert len(hub.asked("^GET .*/model.safetensors")) == 2
