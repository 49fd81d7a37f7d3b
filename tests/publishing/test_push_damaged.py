"""What is damaged is named before anything is sent: half a model is of no use to anybody."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from captune.cli import main
from support.hub.repos import HubServer

CONFIG = "model/config.json"


def put_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def put_a_lost_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def put_a_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def put_a_list(path: Path) -> None:
    path.write_text("[1]")


def put_a_word_for_a_number(path: Path) -> None:
    path.write_text('{"num_beams": "three"}')


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        *((CONFIG, damage) for damage in (cut, empty, put_a_list, put_a_folder, put_a_loop)),
        (CONFIG, Path.unlink),
        ("model/model.safetensors", cut),
        ("model/model.safetensors", put_a_folder),
        ("model/tokenizer.json", empty),
        ("model/processor_config.json", put_a_list),
        # captune takes the newer processor_config.json.
        ("model/preprocessor_config.json", cut),
        ("model/generation_config.json", put_a_word_for_a_number),
        ("model/README.md", put_a_folder),
        *(("scores.json", damage) for damage in (cut, put_a_list, put_a_folder, put_a_lost_link)),
        ("recipe.yaml", put_a_folder),
        ("recipe.yaml", put_a_list),
        ("predictions/after.jsonl", put_a_loop),
        ("plots/loss.png", put_a_lost_link),
        ("plots/loss.png", put_a_folder),
        ("plots/loss.png", cut),
        ("splits/test.jsonl", cut),
    ],
)
def test_a_damaged_file_is_named_and_nothing_is_sent(
    hub: HubServer, run: Path, capsys: pytest.CaptureFixture[str], file: str, damage
) -> None:
    (run / "scores.json").write_text('{"scores": {"CIDEr": 1.0}}')
    damage(run / file)
    with pytest.raises(SystemExit) as caught:
        main(["push", str(run), "me/mine", "--space", "me/space"])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert Path(file).name in error
    assert "fix:" in error
    assert hub.requests == []
