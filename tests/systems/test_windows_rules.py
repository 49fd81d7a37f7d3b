"""Whole commands under the rules of Windows, as support/windows.py applies them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from captune.recipe import save_recipe
from support.runs import script_environment
from support.runs.recipes import recipe

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs the list of open files in /proc"),
    pytest.mark.slow,
    pytest.mark.timeout(300),
]


def windows(
    folder: Path, *words: object, code: int = 0, encoding: str = "utf-8"
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "support.windows", *map(str, words)],
        cwd=folder,
        env=script_environment(PYTHONUTF8="0", PYTHONIOENCODING=encoding, LC_ALL="C"),
        capture_output=True,
        text=True,
        encoding=encoding,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run that cached its features."""
    place = tmp_path_factory.mktemp("windows")
    settings = recipe(
        data__path="shapes:20",
        data__num_workers=1,
        model__freeze=["vision"],
        train__epochs=1,
        train__feature_cache="disk",
    )
    save_recipe(settings, place / "recipe.yaml")
    # What it prints has letters that this encoding lacks, such as a non-breaking space.
    windows(place, "run", "recipe.yaml", "--out", "run", encoding="ascii")
    return place


def forget(place: Path, *stages: str) -> None:
    path = place / "run" / "stages.json"
    done = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(
        json.dumps({k: v for k, v in done.items() if k not in stages}), encoding="utf-8"
    )


def test_a_run_ends_with_a_model_and_a_report(place: Path) -> None:
    assert (place / "run" / "report.html").is_file()
    assert (place / "run" / "model" / "model.safetensors").is_file()
    assert list((place / "run" / "feature_cache").glob("train-*.npy"))


def test_training_is_resumed_and_started_again(place: Path) -> None:
    forget(place, "train", "evaluate", "report")
    words = ("run", "recipe.yaml", "--out", "run", "--only", "train")
    windows(place, *words, "--resume", "+", *words, "--force")


def test_the_trainer_engine_saves_and_resumes(place: Path) -> None:
    words = ("run", "recipe.yaml", "--out", "other", "--set", "train.engine=trainer")
    windows(place, *words, "--only", "prepare", "--only", "train")


def test_a_damaged_cache_is_repaired_in_place(place: Path) -> None:
    (cache,) = (place / "run" / "feature_cache").glob("train-*.npy")
    content = bytearray(cache.read_bytes())
    content[len(content) // 2] ^= 1
    cache.write_bytes(content)
    words = ("run", "recipe.yaml", "--out", "run", "--force", "--only", "train")
    # Starting a worker takes longer than the training, and others do.
    windows(place, *words, "--set", "data.num_workers=0")
    content[len(content) // 2] ^= 1
    assert cache.read_bytes() == content


def test_a_folder_of_images_is_captioned_to_text_files_and_one_file(place: Path) -> None:
    (place / "photos" / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.png"):
        Image.new("RGB", (40, 50), "red").save(place / "photos" / name)
    words = ("caption", "run/model", "photos")
    rows = (*words, "--out", "c.jsonl")
    texts = (*words, "--to", "txt", "--min-new-tokens", 3)
    windows(place, *texts, "+", *rows, "+", *rows, "+", *rows, "--force")
    assert {path.name for path in (place / "photos").rglob("*.txt")} == {"a.txt", "b.txt"}
    assert len((place / "c.jsonl").read_text(encoding="utf-8").splitlines()) == 2


def test_a_data_set_is_converted_and_a_model_created(place: Path) -> None:
    convert = ("data", "convert", "shapes:8", "set", "--to", "coco")
    create = ("init", "blip-tiny", "new", "--train-tokenizer", "shapes:8")
    evaluate = ("evaluate", "new", "--data", "set", "--out", "scores", "--resamples", 100)
    windows(place, *convert, "+", *create, "+", *evaluate)
    assert (place / "scores").is_dir()


def test_a_path_that_is_too_long_is_reported_with_the_way_out(place: Path) -> None:
    folder = "x" * (250 - len(str(place)))
    done = windows(place, "data", "convert", "shapes:4", folder, "--to", "coco", code=2)
    assert "Windows allows 259, including" in done.stderr
    assert "choose a folder with a shorter path" in done.stderr


def test_captions_and_names_outside_the_code_page_do_not_end_a_command(place: Path) -> None:
    (place / "names").mkdir()
    Image.new("RGB", (40, 50), "red").save(place / "names" / "\u72d7-\u017c\U0001f98a.png")
    caption = ("caption", "run/model", "names")
    check = ("data", "check", "shapes:4")
    windows(place, *caption, "--out", "n.jsonl", "+", *caption, "+", *check, encoding="cp1252")
    (line,) = (place / "n.jsonl").read_text(encoding="utf-8").splitlines()
    # Linux decodes file names as the C locale does; Windows would not.
    image_id = os.fsencode(json.loads(line)["image_id"]).decode()
    assert image_id.endswith("\u72d7-\u017c\U0001f98a.png")
