"""`captune data check|show|convert|split` from the outside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from captune.cli.data import app
from captune.cli.flags.reading import FORMATS
from captune.data import SOURCES
from captune.errors import DataError, ModelError, OutputError
from captune.models import build_size, train_tokenizer
from captune.recipe import TokenizerConfig
from support.models.tiny_wordpiece import save_wordpiece
from support.places import ROOT


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "set"
    root.mkdir()
    for number in range(10):
        noise = np.random.default_rng(number).integers(0, 255, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / f"{number}.png")
        (root / f"{number}.txt").write_text(f"caption number {number} [bold]\n")
    return root


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if code is not None:
        assert result.exit_code == code, result.output
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_check_of_a_clean_set_reports_no_problems(folder):
    output = run("check", folder)
    assert "10 images (10 without a split), 10 captions" in output
    assert "no problems found" in output


def test_check_lists_broken_images_writes_both_files_and_exits_with_3(folder, tmp_path):
    (folder / "3.png").write_bytes(b"")
    out = run("check", folder, "--json", tmp_path / "c.json", "--html", tmp_path / "c.html", code=3)
    assert "error: 1 image cannot be read (1 empty)" in out
    assert "empty: 3.png" in out
    assert json.loads((tmp_path / "c.json").read_text())["unreadable"][0]["file"] == "3.png"
    assert (tmp_path / "c.html").read_text().startswith("<!doctype html>")


def test_nothing_is_overwritten_without_force(folder, tmp_path):
    kept = tmp_path / "c.json"
    kept.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        run("check", folder, "--json", kept, code=None)
    with pytest.raises(OutputError, match="exists already"):
        run("show", folder, "--out", kept, code=None)
    with pytest.raises(OutputError, match="exists already"):
        run("convert", folder, tmp_path, code=None)
    assert kept.read_text() == "mine"
    run("check", folder, "--json", kept, "--force")
    assert json.loads(kept.read_text())["num_images"] == 10


@pytest.mark.parametrize(
    "command",
    [
        ("check", "{}/data.csv", "--html", "{}/data.csv"),
        ("show", "{}/data.csv", "--out", "{}/./data.csv"),
        ("convert", "{}", "{}"),
        ("convert", "{}/data.csv", "{}"),
        ("check", "{}", "--json", "{}/data.csv"),
        ("check", "{}/data.csv", "--html", "{}/data.csv"),
    ],
)
def test_data_that_is_read_is_not_overwritten_even_with_force(tmp_path, command):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "0.jpg")
    (tmp_path / "data.csv").write_text("image,caption\nimages/0.jpg,A dog\n")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match="is read by this command"):
        run(*(word.format(tmp_path) for word in command), "--force", code=None)
    assert sorted(tmp_path.rglob("*")) == before


def test_show_writes_a_png(folder, tmp_path):
    out = tmp_path / "sheet.png"
    shown = run("show", folder, "--out", out, "--num-images", 4, "--columns", 2)
    assert f"4 images, the first of the data: {out}" in shown
    with Image.open(out) as sheet:
        assert sheet.width == 24 + 2 * 260 + 20 + 24
    run("show", folder, "--out", out, "--seed", 1, "--num-images", 4, "--force")


def test_show_of_an_absent_split_names_the_splits(folder, tmp_path):
    with pytest.raises(DataError, match="the split test has no images"):
        run("show", folder, "--out", tmp_path / "s.png", "--split", "test", code=None)


def test_split_saves_splits_that_check_reads(folder, tmp_path):
    output = run("split", folder, "--out", tmp_path / "run", "--seed", 7)
    assert "train: 8 images, 8 captions" in output
    summary = json.loads((tmp_path / "run" / "splits.json").read_text())
    assert summary["seed"] == 7
    assert "8 train, 1 val, 1 test" in run("check", tmp_path / "run")
    with pytest.raises(OutputError):
        run("split", folder, "--out", tmp_path / "run", code=None)


def test_split_lists_and_shares_are_checked_first(folder, tmp_path):
    with pytest.raises(DataError, match=r"must add up to 1, not 1\.1"):
        run("split", folder, "--out", tmp_path / "r", "--train", 0.9, code=None)
    with pytest.raises(DataError, match="--split-file 'dev=x'"):
        run("split", folder, "--out", tmp_path / "r", "--split-file", "dev=x", code=None)
    lists = []
    for name, numbers in (("train", range(6)), ("val", range(6, 10))):
        path = tmp_path / f"{name}.lst"
        path.write_text("".join(f"{number}.png\n" for number in numbers))
        lists += ["--split-file", f"{name}={path}"]
    assert "val: 4 images" in run("split", folder, "--out", tmp_path / "r", *lists)


def test_split_reports_that_given_splits_are_kept_without_a_seed(folder, tmp_path):
    drawn = run("split", folder, "--out", tmp_path / "drawn")
    kept = run("split", tmp_path / "drawn", "--out", tmp_path / "kept", "--seed", 7)
    note = "the data set's own splits are kept"
    assert note in kept
    assert note not in drawn
    seeds = [
        json.loads((tmp_path / name / "splits.json").read_text())["seed"]
        for name in ("drawn", "kept")
    ]
    assert seeds == [42, None]


def test_convert_writes_a_set_and_lists_the_skipped_images(folder, tmp_path):
    (folder / "bare.png").write_bytes((folder / "0.png").read_bytes())
    output = run("convert", folder, tmp_path / "out", "--to", "imagefolder", code=3)
    assert "10 images written" in output
    (line,) = (tmp_path / "out" / "skipped_images.jsonl").read_text().splitlines()
    assert json.loads(line)["reason"] == "no_caption"
    assert "10 images" in run("check", tmp_path / "out")
    (folder / "bare.png").unlink()
    run("convert", folder, tmp_path / "out", "--to", "imagefolder", "--force")
    assert not (tmp_path / "out" / "skipped_images.jsonl").exists()


def test_a_conversion_reports_what_is_not_written(folder, tmp_path):
    rows = [f"{n}.png,caption {n},north" for n in range(3)]
    (tmp_path / "d.csv").write_text("image,caption,site\n" + "\n".join(rows))
    arguments = ("convert", tmp_path / "d.csv", "--image-root", folder, "--to")
    output = run(*arguments[:2], tmp_path / "text", *arguments[2:], "sidecar")
    assert "hold captions only, without site, ids, groups" in output
    output = run(*arguments[:2], tmp_path / "coco", *arguments[2:], "coco")
    assert "without" not in output
    output = run("convert", tmp_path / "coco", tmp_path / "table", "--to", "csv")
    assert "columns are written as text: site" in output
    assert "caption ids, `licenses` and `info` of COCO files are not written" in output


def test_rows_are_filtered_by_column_and_repeated_values_are_alternatives(folder, tmp_path):
    rows = [f"{n}.png,caption {n},{n % 3}" for n in range(10)]
    (folder / "d.csv").write_text("image,caption,site\n" + "\n".join(rows))
    for path in folder.glob("*.txt"):
        path.unlink()
    output = run("check", folder, "--filter", "site=1", "--filter", "site=2")
    assert "6 images" in output
    assert "note: filters (site: 1 or 2) skipped 4 images" in output
    drawn = run("split", folder, "--out", tmp_path / "run", "--filter", "site=0")
    assert [line.split(",")[0] for line in drawn.splitlines()[1:4]] == [
        "train: 2 images",
        "val: 1 image",
        "test: 1 image",
    ]
    run("convert", folder, tmp_path / "out", "--filter", "site=2")
    assert len((tmp_path / "out" / "data.jsonl").read_text().splitlines()) == 3
    shown = run("show", folder, "--out", tmp_path / "s.png", "--filter", "site=2", "--seed", 1)
    assert "3 of 3 images" in shown
    with pytest.raises(DataError, match="--filter 'site'"):
        run("check", folder, "--filter", "site", code=None)


def test_the_help_names_every_format():
    assert set(FORMATS) == {"auto", *SOURCES, "hub", "shapes"}
    # The help wraps words at hyphens only; none of the names has one.
    assert all(name in run("check", "--help") for name in FORMATS)


def test_the_page_on_data_has_a_row_for_every_format():
    page = (ROOT / "docs" / "guides" / "data.md").read_text()
    lines = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")}
    assert set(FORMATS) - {"auto"} <= lines


def test_a_missing_tokenizer_is_an_error(folder, tmp_path):
    with pytest.raises(ModelError, match="does not exist") as error:
        run("check", folder, "--tokenizer", tmp_path / "none", code=None)
    assert error.value.where == "--tokenizer"


def test_a_folder_without_a_tokenizer_is_an_error(folder):
    with pytest.raises(ModelError, match="has no tokenizer"):
        run("check", folder, "--tokenizer", folder, code=None)


def test_check_counts_tokens_as_training_does(folder, tmp_path):
    tokenizer = train_tokenizer(
        ["caption number [bold]"], TokenizerConfig(kind="word", min_count=1)
    )
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    captioner = build_size("vit-bert-tiny", tokenizer)
    encoded = captioner.encode_caption("caption number 3 [bold]", 7)
    assert (len(encoded.token_ids), encoded.was_cut) == (7, True)
    page = tmp_path / "check.json"
    arguments = ("--tokenizer", tmp_path / "tokenizer", "--max-caption-tokens", 7, "--json", page)
    output = run("check", folder, *arguments)
    # caption, number, 3, [, bold, ] between start and end.
    assert "tokens per caption: mean 8.0, median 8" in output
    assert json.loads(page.read_text())["num_cut"] == 10


@pytest.mark.real_data
def test_check_counts_cut_captions_with_a_real_tokenizer(real_data):
    tokenizer = real_data / "weights" / "gpt2-tokenizer"
    output = run(
        "check", real_data / "coco_mini", "--tokenizer", tokenizer, "--max-caption-tokens", 20
    )
    # 14 captions have 19 tokens or more, without start and end.
    assert "14 captions (3.5%) longer than 20 tokens would be truncated" in output


def test_the_help_loads_neither_torch_nor_numpy():
    code = (
        "import sys, captune.cli.data;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'datasets', 'PIL')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_captions_that_the_tokenizer_cannot_write_are_an_error(tmp_path: Path) -> None:
    folder = save_images(tmp_path, ["ผู้ชายใส่เสื้อสีแดงยืนข้างเรือ", "สุนัขสองตัววิ่งบนสนามหญ้า"])
    tokenizer = save_wordpiece(tmp_path / "tokenizer")
    output = run("check", folder, "--tokenizer", tokenizer, code=3)
    assert "error: the tokenizer changes or does not know 100.0 % of the captions" in output
    assert "--tokenizer-kind bpe" in output


def test_captions_without_spaces_are_measured_in_characters(tmp_path: Path) -> None:
    folder = save_images(tmp_path, ["一个男人站在船旁边", "两只狗在草地上奔跑"])
    output = run("check", folder)
    assert "characters per caption: mean 9.0" in output
    assert "warning: the captions are Chinese, written without spaces between words" in output
    assert "evaluate.tokenize: char" in output


def save_images(folder: Path, captions: list[str]) -> Path:
    """Save drawn images with their captions in metadata.jsonl."""
    place = folder / "data"
    place.mkdir()
    rows = []
    for number, caption in enumerate(captions):
        Image.new("RGB", (40, 40), (90 * number, 200, 50)).save(place / f"{number}.png")
        rows.append(json.dumps({"file_name": f"{number}.png", "text": caption}))
    (place / "metadata.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return place


@pytest.mark.parametrize(
    ("suffix", "start"),
    [("png", b"\x89PNG"), ("jpg", b"\xff\xd8"), ("webp", b"RIFF"), ("pdf", b"%PDF")],
)
def test_show_writes_the_format_of_the_name(folder, tmp_path, suffix, start):
    out = tmp_path / f"sheet.{suffix}"
    run("show", folder, "--out", out, "--num-images", 2)
    assert out.read_bytes().startswith(start)


def test_show_refuses_an_unknown_extension(folder, tmp_path):
    with pytest.raises(OutputError, match=r"a picture of type '.txt'") as caught:
        run("show", folder, "--out", tmp_path / "sheet.txt", code=None)
    assert ".png" in caught.value.fix


@pytest.mark.parametrize("flags", [("show", "--out", "s.png"), ("check", "--json", "c.json")])
def test_a_missing_folder_is_an_error_and_is_not_created(folder, tmp_path, flags):
    command, flag, name = flags
    with pytest.raises(OutputError, match=r"the folder .* does not exist"):
        run(command, folder, flag, tmp_path / "nowhere" / name, code=None)
    assert not (tmp_path / "nowhere").exists()


def test_show_draws_the_requested_number_of_images(tmp_path):
    for number in range(6):
        Image.new("RGB", (9, 9), (number, 0, 0)).save(tmp_path / f"{number}.png")
    rows = [f"{number}.png,{'' if number == 1 else 'Text'}" for number in range(6)]
    (tmp_path / "d.csv").write_text("\n".join(["image,caption", *rows]))
    assert "4 of 5 images" in run("show", tmp_path, "--out", tmp_path / "s.png", "--num-images", 4)
