"""Each of the five systems, from its raw files to the report, with its shipped recipe.

Only the data, the model and the length of training are changed; the models are tiny ones of the
same family with random weights.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from captune.cli import main
from captune.data import load_splits
from support.runs import layouts

ENGINES = ("loop", pytest.param("trainer", marks=pytest.mark.slow))


def run_recipe(name: str, out: Path, **settings: object) -> Path:
    sets = [f"--set={key.replace('__', '.')}={value}" for key, value in settings.items()]
    with pytest.raises(SystemExit) as exit_:
        main(["run", name, f"--out={out}", "--set=evaluate.bootstrap_samples=100", *sets])
    assert exit_.value.code == 0
    return out


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def check_artefacts(run: Path, *, metrics: tuple[str, ...]) -> dict[str, object]:
    """Check what every system writes, and return scores.json."""
    assert (run / "skipped_images.jsonl").exists()
    for name in (
        *("recipe.yaml", "environment.json", "splits.json", "data_check.json", "log.jsonl"),
        *("report.html", "model/README.md", "model/model.safetensors", "scores_per_image.jsonl"),
        *(f"plots/{plot}.png" for plot in ("samples", "loss", "before_after", "captions")),
        *(f"splits/{split}.jsonl" for split in ("train", "val", "test")),
        *("predictions/before.jsonl", "predictions/after.jsonl"),
    ):
        assert (run / name).stat().st_size > 0, name
    assert any((run / "checkpoints").glob("step-*"))
    assert any((run / "tensorboard").rglob("events.*"))
    losses = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert any("val_loss" in row for row in losses)
    trained = json.loads((run / "train_metrics.json").read_text())
    assert {"train_loss", "val_loss", "val_perplexity", "steps"} <= set(trained)
    tested = {record.file_name for record in load_splits(run) if record.split == "test"}
    for when in ("before", "after"):
        rows = read_csv(run / f"results_{when}_training.csv")
        assert list(rows[0])[:3] == ["filename", "actual_caption", "generated_caption"]
        assert {row["filename"] for row in rows} <= tested
        assert not any(Path(row["filename"]).is_absolute() for row in rows)
    scores = json.loads((run / "scores.json").read_text())
    for system in ("before", "after", "constant_caption"):
        assert set(metrics) <= set(scores[system]["metrics"]), system
    before, after = (scores[system]["metrics"] for system in ("before", "after"))
    for name, test in scores["paired"]["after_vs_before"].items():
        assert test["delta"] == pytest.approx(after[name] - before[name], abs=1e-9), name
    return scores


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_pokemon_git_from_a_hub_sets_parquet(tmp_path: Path, engine: str) -> None:
    run = run_recipe(
        "pokemon-git",
        tmp_path / "run",
        data__path=layouts.write_parquet(tmp_path / "set", 40),
        model__checkpoint=layouts.save_captioner(tmp_path / "git", "git-tiny"),
        train__max_steps=2,
        train__engine=engine,
        generate__max_new_tokens=8,
    )
    check_artefacts(run, metrics=("wer", "cider"))
    assert len(load_splits(run)) == 40


@pytest.mark.slow
def test_football_blip_from_six_pictures(tmp_path: Path) -> None:
    run = run_recipe(
        "football-blip",
        tmp_path / "run",
        data__path=layouts.write_parquet(tmp_path / "set", 6),
        model__checkpoint=layouts.save_captioner(tmp_path / "blip", "blip-tiny"),
        train__epochs=3,
        generate__max_new_tokens=8,
    )
    check_artefacts(run, metrics=("bleu_4", "cider"))
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    # Four pictures, two per step, and the loss of each step.
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_flickr8k_blip_from_the_kaggle_folder(tmp_path: Path) -> None:
    run = run_recipe(
        "flickr8k-blip",
        tmp_path / "run",
        data__path=layouts.write_kaggle_flickr8k(tmp_path / "set", 30),
        model__checkpoint=layouts.save_captioner(tmp_path / "blip", "blip-tiny"),
        train__max_steps=2,
        generate__max_new_tokens=8,
        generate__num_beams=2,
    )
    scores = check_artefacts(run, metrics=("sacrebleu", "rougeL", "wer"))
    assert "sacrebleu" in scores["paired"]["after_vs_before"]
    records = load_splits(run)
    assert {record.split: 0 for record in records}.keys() == {"train", "val", "test"}
    # Five captions of an image stay together and keep the text after their commas.
    assert all(len(record.captions) == 5 for record in records)
    assert all('"centred"' in record.captions[3] for record in records)
    splits = json.loads((run / "splits.json").read_text())
    assert splits["seed"] == 42
    assert splits["splits"] == {
        "train": {"rows": 120, "unique_images": 24},
        "val": {"rows": 15, "unique_images": 3},
        "test": {"rows": 15, "unique_images": 3},
    }


@pytest.mark.parametrize("parts", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_hephaestus_from_zips_in_place(tmp_path: Path, parts: int) -> None:
    data = layouts.write_hephaestus(tmp_path / "set", 12, parts=parts)
    before = sorted(path.name for path in data.iterdir())
    run = run_recipe(
        "hephaestus-blip-large",
        tmp_path / "run",
        data__path=data,
        data__filters="{corrupted: 0}",
        model__checkpoint=layouts.save_captioner(tmp_path / "blip", "blip-tiny"),
        train__max_steps=2,
        generate__max_new_tokens=8,
        evaluate__bert_model=layouts.save_bert(tmp_path / "bert-base-uncased"),
    )
    scores = check_artefacts(run, metrics=("cider", "bert_score", "bert_score_raw"))
    # Layer and baseline of the original's model, found by its name.
    assert "model:bert-base-uncased|layers:9" in scores["after"]["signature"]
    for when in ("before", "after"):
        rows = read_csv(run / f"results_{when}_training.csv")
        assert all(-1 <= float(row["bert_score_raw"]) <= 1 for row in rows)
    records = load_splits(run)
    assert len(records) == 59
    by_frame = {(record.group, record.split) for record in records}
    assert len(by_frame) == len({record.group for record in records}) == 12
    assert sorted(path.name for path in data.iterdir()) == before


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_coco_swin_gpt2_from_karpathys_file(tmp_path: Path, engine: str) -> None:
    encoder, decoder = layouts.save_pair(tmp_path / "pair")
    run = run_recipe(
        "coco-swin-gpt2",
        tmp_path / "run",
        data__path=layouts.write_karpathy_coco(tmp_path / "set", 48),
        model__encoder=encoder,
        model__decoder=decoder,
        train__max_steps=2,
        train__engine=engine,
        generate__max_new_tokens=8,
    )
    check_artefacts(run, metrics=("sacrebleu", "rougeL", "mean_length"))
    records = load_splits(run)
    # Half of the training split, with restval; the scored splits stay complete.
    assert [sum(r.split == s for r in records) for s in ("train", "val", "test")] == [16, 8, 8]
