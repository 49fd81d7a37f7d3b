"""Every command block of README and docs runs, on small data and tiny models under its names."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from captune.cli import main
from captune.data import load_records, save_splits
from support.pages import PAGES, Block, code_blocks
from support.runs import layouts
from support.runs.documented import write_example_folder
from support.runs.recipe_data import BLIP, lay_out

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# What cannot run in a test without network, accelerator or cluster, and where it is tested instead.
NOT_RUN = {
    r" serve ": "serves until it is stopped: tests/serving",
    r"--engine ray": "needs a Ray cluster: tests/bulk/cluster",
    r"s3://": "needs object storage: tests/net",
    r"https://": "needs the network: tests/net",
    r" push |push_to_hub": "needs the hub: tests/publishing pushes to a local one",
    r"--pac-checkpoint": "needs the weights of CLIP and PAC-S: tests/metrics/neural",
    r"/shared/": "needs a folder that several machines share: tests/bulk runs shards",
}
SHORT = [
    "train.max_steps=2",
    "train.validate_images=2",
    "generate.max_new_tokens=8",
    "generate.num_beams=1",
    "evaluate.bootstrap_samples=100",
]
BLOCKS = [
    block
    for page in PAGES
    for block in code_blocks(page, "sh", "console")
    if re.search(r"^captune ", block.text, re.MULTILINE)
]
WITH_CAPTIONS = ("my-photos", "my-pictures", "corrections", "DATA")
WITHOUT_CAPTIONS = ("photos", "more-photos", "runs/demo/report_files")
MODELS = (
    "MODEL",
    "Salesforce/blip-image-captioning-large",
    "models/blip-image-captioning-base",
    "nlpconnect/vit-gpt2-image-captioning",
    "blip-large",
)


def is_training(line: str) -> bool:
    return line.split()[1] in ("run", "train", "demo")


def test_most_commands_are_run() -> None:
    lines = [line for block in BLOCKS for line in commands(block)]
    skipped = [line for line in lines if reason_not_to_run(line)]
    assert len(lines) > 60
    assert len(skipped) < len(lines) / 3


def commands(block: Block) -> list[str]:
    """Return the lines of a block that call captune, without comments."""
    joined = block.text.replace("\\\n", " ").split("\n")
    plain = [re.sub(r"\s+#.*", "", line).strip() for line in joined]
    return [re.sub(r"\[(--.*?)\]", r"\1", line) for line in plain if line.startswith("captune ")]


def is_repeated(line: str, block: Block) -> bool:
    """Return whether an earlier block trains with the same words."""
    first = next(block for block in BLOCKS if line in commands(block))
    return is_training(line) and first is not block


def reason_not_to_run(line: str) -> str | None:
    return next((why for what, why in NOT_RUN.items() if re.search(what, line)), None)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return layouts.save_captioner(tmp_path_factory.mktemp("model") / "model", "blip-tiny")


@pytest.fixture
def sandbox(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Enter a folder with everything that the pages name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    write_example_folder(tmp_path)
    for name in WITH_CAPTIONS:
        layouts.write_sidecars(tmp_path / name, 20)
    for name in WITHOUT_CAPTIONS:
        (tmp_path / name).mkdir()
        for number in range(6):
            layouts.draw(number)[0].save(tmp_path / name / f"{number}.jpg")
    for name in ("experiments/first", "other/run"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("photo.jpg", "new-photo.jpg"):
        layouts.draw(1)[0].save(tmp_path / name)
    for name in MODELS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(model)
    references = {str(n): [f"a dog number {n} on the grass", f"the dog {n}"] for n in range(4)}
    predictions = dict.fromkeys(references, "a dog on the grass")
    samples = {name: ["a dog", "a dog on the grass"] for name in references}
    for file, content in {
        "references.json": references,
        "captions_val2014.json": references,
        "predictions.json": predictions,
        "mine.json": predictions,
        "theirs.json": dict.fromkeys(references, "the dog"),
        "mine_samples.json": samples,
    }.items():
        (tmp_path / file).write_text(json.dumps(content))
    yield tmp_path


RECIPES = {
    "pokemon-git": "1_pokemon_git",
    "football-blip": "2_football_blip",
    "flickr8k-blip": "3_flickr8k_blip",
    "hephaestus-blip-large": "4_hephaestus_blip_large",
    "coco-swin-gpt2": "5_coco_swin_gpt2",
}


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_of_commands_runs(
    block: Block, sandbox: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for recipe, notebook in RECIPES.items():
        if recipe in block.text:
            lay_out(notebook, sandbox)
    if not (sandbox / BLIP).exists():
        (sandbox / BLIP).parent.mkdir(exist_ok=True)
        (sandbox / BLIP).symlink_to(model)
    if "~/flickr8k" in block.text:
        layouts.write_kaggle_flickr8k(sandbox / "flickr8k", 20)
    if "hephaestus" in block.text:
        layouts.save_bert(sandbox / "models" / "bert-base-uncased")
    for line in commands(block):
        if reason_not_to_run(line) is None and not is_repeated(line, block):
            provide_runs(line, sandbox, model)
            run_line(line, sandbox, capsys)


def provide_runs(line: str, folder: Path, model: Path) -> None:
    """Give the runs that a line uses, and that no line before it has made, a model and splits."""
    for name in re.findall(r"\bruns/[\w-]+", line):
        place = folder / name / "model"
        if not place.exists() and " --out " not in line:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(model)
        if f"--data {name}" in line and not (folder / name / "splits").exists():
            records = load_records(str(folder / "my-photos")).records
            save_splits([replace(record, split="test") for record in records], folder / name)


def run_line(line: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Run a command in this process; a redirect goes to a file."""
    command, _, target = line.replace(" ... ", " --references references.json ").partition(" > ")
    words = shlex.split(command.replace("~", str(folder)))[1:]
    if is_training(line):
        words += [word for setting in SHORT for word in ("--set", setting)]
    if words[0] == "demo":
        words += ["--set", "data.path=shapes:40"]
    if words[0] == "bench" and words[1] != "score":
        words += ["--seconds", "0", "--images", "8"]
    if words[0] == "score" and "--samples" not in words and "--predictions" not in words:
        words += ["--predictions", "predictions.json"]
    capsys.readouterr()
    with pytest.raises(SystemExit) as done:
        main(words)
    shown = capsys.readouterr()
    # 3: finished, with images that are listed, such as those without a caption.
    assert done.value.code in (0, 3), f"{line}\n{shown.err}"
    if target:
        (folder / target.strip()).write_text(shown.out)
