"""`captune evaluate` and `captune compare`: arguments, output files and exit codes."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from captune.cli import main
from captune.data import load_records, save_splits
from captune.models import build_size, load_captioner, train_tokenizer, write_decoding
from captune.recipe import GenerateConfig, TokenizerConfig

COLORS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "grey": (90, 90, 90)}
FAST = ["--num-beams", "1", "--max-new-tokens", "5", "--resamples", "100", "--device", "cpu"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny random models: `run/model` and `other`."""
    folder = tmp_path_factory.mktemp("models")
    words = [f"a {color} square on white" for color in COLORS]
    tokenizer = train_tokenizer(words, TokenizerConfig(kind="word", min_count=1))
    build_size("vit-gpt2-tiny", tokenizer).save(folder / "run" / "model")
    build_size("blip-tiny", tokenizer).save(folder / "other")
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four images with two captions each, no splits."""
    folder = tmp_path / "data"
    folder.mkdir()
    with (folder / "captions.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption"])
        for name, color in COLORS.items():
            Image.new("RGB", (64, 64), color).save(folder / f"{name}.png")
            writer.writerow([f"{name}.png", f"a {name} square on white"])
            writer.writerow([f"{name}.png", f"{name}, and nothing else"])
    return folder


def run(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    code = caught.value.code
    return code if isinstance(code, int) else 0


@pytest.mark.slow
def test_json_has_the_documented_keys_and_a_note_reports_the_use_of_the_whole_set(
    models: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    json_file = tmp_path / "scores.json"
    code = run(
        "evaluate", models / "run", "--data", data, *FAST, "--metrics", "bleu,cider", "--json",
        json_file,
    )  # fmt: skip
    assert code == 0
    content = json.loads(json_file.read_text())
    assert {"metrics", "intervals", "num_images", "signature"} <= set(content)
    assert list(content["metrics"]) == ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "cider"]
    assert content["num_images"] == 4
    assert content["signature"].startswith("split:all|refs:2|images:4|decoding:num_beams=1,")
    assert content["constant_caption"]["num_images"] == 4
    output = capsys.readouterr()
    assert "has no splits: 4 images scored" in output.err
    assert "BLEU-4" in output.out
    assert "Only 4 images were scored" in output.out


@pytest.mark.slow
def test_out_holds_predictions_csv_scores_plots_and_the_report(
    models: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    other = models / "other"
    code = run(
        "evaluate", models / "run" / "model", "--data", data, *FAST, "--baseline", other, "--out",
        out,
    )  # fmt: skip
    assert code == 0
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert names == {
        "predictions.jsonl",
        "predictions_baseline.jsonl",
        "results.csv",
        "results_baseline.csv",
        "scores.json",
        "report.html",
        "plots/samples.png",
        "plots/before_after.png",
        "plots/captions.png",
    }
    with (out / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["filename"] for row in rows] == [f"{name}.png" for name in COLORS]
    assert rows[0]["actual_caption"] == "a red square on white | red, and nothing else"
    report = (out / "report.html").read_text()
    assert "the baseline" in report
    assert "split: all, 4 images" in report
    scores = json.loads((out / "scores.json").read_text())
    assert set(scores["paired"]) == {"after_vs_before", "after_vs_constant_caption"}


@pytest.mark.slow
def test_existing_files_are_kept_without_force(
    models: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    command = ["evaluate", models / "run", "--data", data, *FAST]
    assert run(*command, "--out", tmp_path / "out") == 2
    assert "exists already" in capsys.readouterr().err
    (tmp_path / "s.json").write_text("mine")
    assert run(*command, "--json", tmp_path / "s.json") == 2
    assert (tmp_path / "s.json").read_text() == "mine"
    assert run(*command, "--json", tmp_path / "s.json", "--force") == 0
    assert (tmp_path / "s.json").read_text() != "mine"


def test_scoring_a_run_on_images_of_its_own_training_is_reported(
    models: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = shutil.copytree(models / "run", tmp_path / "mine")
    records = load_records(str(data)).records
    splits = ("train", "train", "train", "test")
    save_splits([replace(r, split=s) for r, s in zip(records, splits, strict=True)], mine)
    words = [mine / "model", "--data", data, *FAST, "--metrics", "bleu"]
    assert run("compare", models / "other", *words) == 0
    printed = capsys.readouterr().out
    assert "mine was trained on 3 of the 4 scored images" in printed
    assert f"; --data {mine} scores only images that it has not seen." in printed
    assert run("evaluate", *words, "--out", tmp_path / "out") == 0
    assert "The model was trained on 3 of the 4" in capsys.readouterr().out
    assert "The model was trained on 3 of the 4" in (tmp_path / "out" / "report.html").read_text()
    assert run("evaluate", mine, "--data", mine, *FAST, "--metrics", "bleu") == 0
    assert "was trained on" not in capsys.readouterr().out


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_what_is_read_is_not_overwritten_even_with_force(
    models: Path, data: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    table = (data / "captions.csv").rename(data / "results.csv")
    before = table.read_bytes()
    words = [command, models / "run", *([models / "other"] if command == "compare" else ())]
    for flag, place in (("--json", table), ("--out", data), ("--out", models / "run")):
        assert run(*words, "--data", table, flag, place, "--force") == 2
        assert f"{place} is read by this command" in capsys.readouterr().err
    assert table.read_bytes() == before


def test_a_broken_image_is_listed_and_the_exit_code_is_three(
    models: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "blue.png").write_bytes((data / "blue.png").read_bytes()[:60])
    with (data / "captions.csv").open("a", encoding="utf-8") as table:
        table.write("gone.png,a ball\n")
    out = tmp_path / "out"
    words = ("--data", data, *FAST, "--json", tmp_path / "s.json", "--out", out)
    code = run("evaluate", models / "run", *words)
    assert code == 3
    assert "not read: blue.png (truncated)" in capsys.readouterr().err
    content = json.loads((tmp_path / "s.json").read_text())
    assert content["num_images"] == 3
    skipped = {image["image_id"]: image["reason"] for image in content["skipped"]}
    assert skipped == {"gone.png": "missing", "blue.png": "truncated"}
    assert all(name in (out / "report.html").read_text() for name in skipped)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--metrics", "cidr"], "did you mean 'cider'"),
        (["--data", "nowhere/at/all"], "no such file or folder"),
        (["--baseline", "./nothing"], "'nothing' does not exist"),
        (["--num-beams", "0"], "--num-beams"),
        (["--device", "quantum"], "device 'quantum' is not available"),
        (["--json", ".", "--force"], ". is a folder"),
        (["--split-file", "dev=x"], "train=FILE, val=FILE or test=FILE"),
    ],
)
def test_invalid_arguments_exit_2_with_the_reason(
    models: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    assert run("evaluate", models / "run", "--data", data, *FAST, *words) == 2
    assert message in capsys.readouterr().err


def test_a_missing_split_is_an_error_that_names_the_others(
    models: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.txt").write_text("red.png\n")
    (tmp_path / "test.txt").write_text("green.png\nblue.png\n")
    command = [
        "evaluate", models / "run", "--data", data, *FAST,
        "--split-file", f"train={tmp_path / 'train.txt'}",
        "--split-file", f"test={tmp_path / 'test.txt'}",
    ]  # fmt: skip
    assert run(*command, "--split", "val") == 2
    assert "train (1 image), test (2 images)" in capsys.readouterr().err
    assert run(*command, "--json", tmp_path / "s.json") == 0
    content = json.loads((tmp_path / "s.json").read_text())
    assert content["num_images"] == 2
    assert content["signature"].startswith("split:test|")
    assert content["constant_caption"]["caption"].find("red") >= 0


@pytest.mark.slow
def test_a_models_own_decoding_is_used_and_flags_override_it(
    models: Path, data: Path, tmp_path: Path
) -> None:
    captioner = load_captioner(models / "other")
    write_decoding(captioner.model, GenerateConfig(num_beams=2, max_new_tokens=6))
    captioner.save(tmp_path / "tuned")
    few = ["--resamples", "100", "--device", "cpu", "--metrics", "bleu"]
    signatures = []
    for flags in ([], ["--num-beams", "1"], ["--baseline", models / "other"]):
        json_file = tmp_path / f"{len(signatures)}.json"
        arguments = ("--data", data, *few, *flags, "--json", json_file)
        assert run("evaluate", tmp_path / "tuned", *arguments) == 0
        signatures.append(json.loads(json_file.read_text())["signature"])
    assert "decoding:num_beams=2,max_new_tokens=6|" in signatures[0]
    assert "decoding:num_beams=1,max_new_tokens=6|" in signatures[1]
    assert "decoding:num_beams=2,max_new_tokens=6|" in signatures[2]


@pytest.mark.slow
def test_models_with_different_decoding_settings_are_compared_with_one(
    models: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    captioner = load_captioner(models / "other")
    write_decoding(captioner.model, GenerateConfig(num_beams=2, max_new_tokens=6))
    captioner.save(tmp_path / "tuned")
    few = ["--resamples", "100", "--device", "cpu", "--metrics", "bleu", "--max-new-tokens", "5"]
    assert run("compare", models / "run", tmp_path / "tuned", "--data", data, *few) == 0
    output = capsys.readouterr()
    assert "the models have different decoding settings" in output.err
    assert "decoding:num_beams=3,max_new_tokens=5|" in output.out.replace("\n", "")


@pytest.mark.slow
def test_compare_scores_models_side_by_side_and_shows_chosen_images(
    models: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = tmp_path / "chosen.png"
    Image.new("RGB", (50, 40), "white").save(chosen)
    # As an earlier comparison of three models left it.
    (tmp_path / "out" / "predictions").mkdir(parents=True)
    for name in ("predictions/model_3.jsonl", "results_model_3.csv"):
        (tmp_path / "out" / name).touch()
    code = run(
        "compare", models / "run", models / "other", "--data", data, *FAST, "--images", chosen,
        "--out", tmp_path / "out", "--json", tmp_path / "c.json", "--force",
    )  # fmt: skip
    assert code == 0
    output = capsys.readouterr().out
    assert "chosen.png\n  run: " in output
    assert "other" in output
    content = json.loads((tmp_path / "c.json").read_text())
    assert list(content["systems"]) == ["run", "other"]
    assert content["systems"]["run"]["num_images"] == 4
    assert list(content["paired"]) == ["other_vs_run"]
    names = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*")}
    assert names == {
        "comparison.html",
        "comparison.png",
        "scores.json",
        "results_model_1.csv",
        "results_model_2.csv",
        "predictions/model_1.jsonl",
        "predictions/model_2.jsonl",
    }
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "chosen.png" in page
    assert page.count("<article") == 1


def test_a_url_without_allow_urls_stops_before_any_work(
    models: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run("compare", models / "run", "--data", data, *FAST, "--images", "https://x.org/a.jpg")
    assert code == 2
    assert "download it and give its path" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("command", [["evaluate", "run"], ["compare", "run", "other"]])
def test_only_rows_that_pass_the_filters_are_scored(
    models: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
) -> None:
    rows = (data / "captions.csv").read_text().splitlines()
    kinds = ["kind", "warm", "warm", "cold", "cold", "cold", "cold", "none", "none"]
    lines = [f"{row},{kind}" for row, kind in zip(rows, kinds, strict=True)]
    (data / "captions.csv").write_text("\n".join(lines))
    words = [command[0], *(models / name for name in command[1:]), "--data", data, *FAST]
    kept = ["--filter", "kind=warm", "--filter", "kind=none"]
    assert run(*words, *kept, "--json", tmp_path / "s.json") == 0
    content = json.loads((tmp_path / "s.json").read_text())
    assert content["num_images"] == 2
    assert "filters (kind: warm or none) skipped 2 images" in capsys.readouterr().err
    assert run(*words, "--filter", "kin=warm") == 2
    assert "did you mean 'kind'" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="no such file names on Windows")
@pytest.mark.parametrize("command", ["evaluate", "compare"])
@pytest.mark.slow
def test_the_name_of_a_model_cannot_steer_the_terminal(
    models: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    named = shutil.copytree(models / "other", tmp_path / "a\x1b[2J\u202eb")
    out = tmp_path / "out"
    assert run(command, named, "--data", data, *FAST, "--metrics", "bleu", "--out", out) == 0
    printed = capsys.readouterr()
    assert not {"\x1b", "\u202e"} & set(printed.out + printed.err)
    (page,) = out.glob("*.html")
    assert not {"\x1b", "\u202e"} & set(page.read_text(encoding="utf-8"))


@pytest.mark.real_data
@pytest.mark.slow
def test_real_photographs_are_evaluated(models: Path, tmp_path: Path, real_data: Path) -> None:
    code = run(
        "evaluate", models / "run", "--data", real_data / "coco_mini", *FAST, "--max-images", "12",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert code == 0
    assert len((tmp_path / "out" / "predictions.jsonl").read_text().splitlines()) == 12
    assert (tmp_path / "out" / "report.html").stat().st_size < 8_000_000
