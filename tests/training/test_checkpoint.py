"""A checkpoint of the loop restores more than the weights, and damage is reported."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from safetensors.torch import save_file

from captune.errors import OutputError
from captune.models import build_captioner
from captune.recipe import ModelConfig
from captune.storage import write_folder
from captune.training.checkpoint import (
    TRY_RESUME,
    TrainState,
    load_checkpoint,
    newest_checkpoint,
    reading_checkpoint,
    save_checkpoint,
    write_checkpoint,
)

CAPTIONS = ["a red circle", "a blue square on the left"]


def test_the_scale_of_fp16_losses_is_restored(tmp_path: Path) -> None:
    Accelerator(cpu=True)
    captioner = build_captioner(ModelConfig(size="vit-gpt2-tiny"), CAPTIONS)
    scalers = [torch.amp.GradScaler("cpu", init_scale=scale) for scale in (128.0, 65536.0)]
    written, read = (
        AcceleratedOptimizer(torch.optim.SGD(captioner.model.parameters()), scaler=scaler)
        for scaler in scalers
    )
    for scaler in scalers:  # a scaler has no state before its first use
        scaler.scale(torch.ones(1))
    save_checkpoint(
        tmp_path, TrainState(step=3), captioner=captioner, optimizer=written, average=None, keep=1
    )
    found = load_checkpoint(tmp_path, captioner=captioner, optimizer=read, average=None)
    assert found == TrainState(step=3)
    assert scalers[1].get_scale() == 128.0


def test_the_millionth_step_is_newer_than_the_one_before_it(tmp_path: Path) -> None:
    for step in (999_998, 999_999, 1_000_000):
        write_checkpoint(tmp_path, TrainState(step=step), write=lambda _: None, keep=2)
    newest = newest_checkpoint(tmp_path, engine="trainer")
    assert newest is not None
    assert newest.name == "step-1000000"
    assert (tmp_path / "step-999999").is_dir()
    assert not (tmp_path / "step-999998").exists()


def save_by_safetensors(folder: Path) -> None:
    save_file({"weight": torch.ones(100_000)}, folder / "weights.safetensors")


def save_by_torch(folder: Path) -> None:
    torch.save({"weight": torch.ones(100_000)}, folder / "state.pt")


@pytest.mark.parametrize("save", [save_by_safetensors, save_by_torch])
def test_a_full_disk_is_reported_and_no_partial_folder_remains(
    tmp_path: Path,
    full_disk: Callable[[int], AbstractContextManager[None]],
    save: Callable[[Path], None],
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("the best so far")
    with pytest.raises(OutputError, match="cannot write") as error, full_disk(100_000):
        write_folder(tmp_path / "model", save, then=TRY_RESUME)
    assert "--resume" in error.value.fix
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "config.json").read_text() == "the best so far"


@pytest.mark.parametrize("name", ["weights.safetensors", "state.pt", "state.json"])
def test_a_truncated_checkpoint_is_named_with_a_fix(tmp_path: Path, name: str) -> None:
    Accelerator(cpu=True)
    captioner = build_captioner(ModelConfig(size="vit-gpt2-tiny"), CAPTIONS)
    optimizer = AcceleratedOptimizer(torch.optim.SGD(captioner.model.parameters()))
    for step in (2, 4):
        save_checkpoint(
            tmp_path,
            TrainState(step=step),
            captioner=captioner,
            optimizer=optimizer,
            average=None,
            keep=2,
        )
    cut = tmp_path / "step-000004" / name
    cut.write_bytes(cut.read_bytes()[:40])
    with pytest.raises(OutputError, match="cannot be read") as error:
        load_checkpoint(tmp_path, captioner=captioner, optimizer=optimizer, average=None)
    assert error.value.where == str(tmp_path / "step-000004")
    shutil.rmtree(tmp_path / "step-000004")
    found = load_checkpoint(tmp_path, captioner=captioner, optimizer=optimizer, average=None)
    assert found == TrainState(step=2)


@pytest.mark.parametrize("is_list", [True, False])
def test_a_checkpoint_from_before_random_states_were_kept_by_device_is_read(
    tmp_path: Path, is_list: bool
) -> None:
    Accelerator(cpu=True)
    captioner = build_captioner(ModelConfig(size="vit-gpt2-tiny"), CAPTIONS)
    optimizer = AcceleratedOptimizer(torch.optim.SGD(captioner.model.parameters()))
    parts: dict[str, Any] = {"captioner": captioner, "optimizer": optimizer, "average": None}
    save_checkpoint(tmp_path, TrainState(step=2), keep=1, **parts)
    drawn = torch.rand(3)
    place = tmp_path / "step-000002" / "state.pt"
    saved = torch.load(place, weights_only=True)
    (own,) = saved["rng"]
    del own["devices"]
    # Before several processes could train, there was no list.
    saved["rng"] = [own] if is_list else own
    torch.save(saved, place)
    assert load_checkpoint(tmp_path, **parts) == TrainState(step=2)
    assert torch.equal(torch.rand(3), drawn)


def test_a_checkpoint_without_its_weights_is_not_taken_for_one_of_the_other_engine(
    tmp_path: Path,
) -> None:
    def write(folder: Path) -> None:
        save_by_safetensors(folder)
        (folder / "state.pt").write_bytes(bytes(100))

    write_checkpoint(tmp_path, TrainState(step=2), write=write, keep=1)
    (tmp_path / "step-000002" / "weights.safetensors").unlink()
    assert newest_checkpoint(tmp_path, engine="loop") == tmp_path / "step-000002"
    with pytest.raises(OutputError, match=r"with train\.engine: loop"):
        newest_checkpoint(tmp_path, engine="trainer")


def test_advice_of_torch_to_load_foreign_code_is_not_passed_on(tmp_path: Path) -> None:
    place = tmp_path / "state.pt"
    place.write_bytes(bytes(100))
    with pytest.raises(OutputError) as error, reading_checkpoint(tmp_path):
        torch.load(place, weights_only=True)
    assert error.value.what.endswith("a file in it was not written by torch.save")
    with pytest.raises(OutputError, match="another model: EOFError"), reading_checkpoint(tmp_path):
        raise EOFError


def test_a_state_with_other_content_is_named_with_a_fix(tmp_path: Path) -> None:
    Accelerator(cpu=True)
    captioner = build_captioner(ModelConfig(size="vit-gpt2-tiny"), CAPTIONS)
    optimizer = AcceleratedOptimizer(torch.optim.SGD(captioner.model.parameters()))
    save_checkpoint(
        tmp_path,
        TrainState(step=2),
        captioner=captioner,
        optimizer=optimizer,
        average=None,
        keep=1,
    )
    place = tmp_path / "step-000002" / "state.pt"
    saved = torch.load(place, weights_only=True)
    name, _keys, *rest = saved["rng"][0]["numpy"]
    saved["rng"][0]["numpy"] = (name, [1, 2], *rest)
    torch.save(saved, place)
    with pytest.raises(OutputError, match="cannot be read") as error:
        load_checkpoint(tmp_path, captioner=captioner, optimizer=optimizer, average=None)
    assert error.value.where == str(tmp_path / "step-000002")
