"""A damaged file of a run is an error that names the file and the fix."""

from __future__ import annotations

import json
import random
import shutil
import zipfile
from pathlib import Path

import pytest

from captune.cli import main
from captune.errors import DataError
from captune.pipeline import run
from captune.pipeline.resume import check_resumed
from support.runs.damage import DAMAGES
from support.runs.recipes import recipe
from support.soak import FIRST_SEED, rounds, soak

pytestmark = pytest.mark.slow

# Without scores.json, log.jsonl and data_check.json, which a report does not need.
NEEDED = (
    *("splits.json", "splits/train.jsonl", "splits/test.jsonl", "stages.json"),
    *("environment.json", "skipped_images.jsonl", "predictions/after.jsonl"),
)
SPARE = (
    *("scores.json", "scores_per_image.jsonl", "log.jsonl"),
    *("train_metrics.json", "data_check.json"),
)


def settings():
    return recipe(data__path="shapes:20", train__epochs=1, evaluate__baseline=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(settings(), out=tmp_path_factory.mktemp("finished") / "run", say=lambda _: None)


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def report(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stopped:
        main(["run", str(folder / "recipe.yaml"), "--out", str(folder), "--from", "report"])
    return int(stopped.value.code or 0), capsys.readouterr().err


@pytest.mark.parametrize("damage", ["empty", "nulls", "not_utf_8", "nested", "long_number"])
@pytest.mark.parametrize("name", NEEDED)
def test_a_damaged_file_is_named_with_the_fix(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, damage: str
) -> None:
    path = folder / name
    if damage == "empty" and name.endswith(".jsonl"):
        pytest.skip("an empty file of lines is not damaged")
    if name == "skipped_images.jsonl":
        path.write_text('{"image_id": "a", "file": "a", "reason": "b", "detail": ""}\n')
    path.write_bytes(DAMAGES[damage](path.read_bytes(), random.Random(0)))
    code, error = report(folder, capsys)
    assert code == 2, error
    assert name in error.replace("\\", "/")
    assert "fix:" in error
    assert "internal error" not in error


def test_a_report_recomputes_what_is_damaged(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in SPARE:
        (folder / name).write_bytes(bytes(100))
    code, error = report(folder, capsys)
    assert code == 0, error


@soak
def test_damage_never_causes_an_internal_error(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(FIRST_SEED)
    for number in rounds(12, full=600):
        folder = shutil.copytree(finished, tmp_path / str(number))
        name, damage = rng.choice((*NEEDED, *SPARE)), rng.choice(sorted(DAMAGES))
        path = folder / name
        path.write_bytes(DAMAGES[damage](path.read_bytes() or b"{}\n", rng))
        code, error = report(folder, capsys)
        assert code in (0, 2), f"{damage} of {name}: {error}"
        shutil.rmtree(folder)


def test_a_truncated_archive_of_images_is_named(folder: Path) -> None:
    from captune.data import load_splits

    archive = folder / "splits" / "images.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("x", b"y" * 1000)
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"images\.zip is damaged") as error:
        load_splits(folder)
    assert "--from prepare" in error.value.fix


@pytest.mark.parametrize("content", ["7", "[]", '"x"', "{", "\0\0"])
def test_damaged_saved_inputs_of_a_training_are_named(folder: Path, content: str) -> None:
    note = folder / "checkpoints" / "began_with.json"
    assert json.loads(note.read_text(encoding="utf-8"))
    note.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match="damaged") as error:
        check_resumed(settings(), folder)
    assert "began_with.json" in error.value.where
    assert "--force" in error.value.fix
