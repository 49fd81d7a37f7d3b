"""`captune caption`: output, files, skipped images, errors and exit codes."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from captune.cli import main
from captune.inference import load
from captune.models import build_size, load_captioner, train_tokenizer, write_decoding
from captune.recipe import GenerateConfig, TokenizerConfig
from support import bombs
from support.runs.forks import run_captune


def _tokenizer() -> Any:
    words = ["a red dog on the grass", "the cat and a dog"]
    return train_tokenizer(words, TokenizerConfig(kind="word", min_count=1))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GPT-2 captioner with large random weights, so that images get different words."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        captioner = build_size("vit-gpt2-tiny", _tokenizer())
        for parameter in captioner.model.parameters():
            if parameter.dim() >= 2:
                parameter.data.normal_(std=3.5 / parameter[0].numel() ** 0.5)
    path = tmp_path_factory.mktemp("model")
    captioner.save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.jpg", "sub/c.bmp")):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["caption", *map(str, words)])
    code = caught.value.code
    return 0 if code is None else int(code)


def expected(model: Path, *paths: Path, **decoding: object) -> list[str]:
    return [p.caption for p in load(model, device="cpu").caption(list(paths), **decoding)]


@pytest.mark.slow
def test_the_screen_gets_one_line_per_image(model, photos, capsys):
    assert run(model, photos, "--min-new-tokens", 3) == 0
    paths = [photos / "a.png", photos / "b.jpg", photos / "sub" / "c.bmp"]
    captions = expected(model, *paths, min_new_tokens=3)
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        f"{path}\t{caption}" for path, caption in zip(paths, captions, strict=True)
    ]
    assert printed.err.startswith("3 captioned in ")


@pytest.mark.slow
def test_decoding_flags_reach_the_decoder(model, photos, capsys):
    decoding = {
        "num_beams": 2,
        "max_new_tokens": 6,
        "min_new_tokens": 4,
        "length_penalty": -0.5,
        "early_stopping": True,
        "no_repeat_ngram_size": 2,
        "repetition_penalty": 1.2,
        "prompt": "the red",
    }
    flags: list[object] = []
    for name, value in decoding.items():
        flag = f"--{name.replace('_', '-')}"
        flags += [flag] if value is True else [flag, value]
    assert run(model, photos / "a.png", *flags, "--to", "jsonl") == 0
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert row["caption"] == expected(model, photos / "a.png", **decoding)[0]
    assert row["caption"].startswith("the red")


@pytest.mark.slow
def test_the_models_own_decoding_settings_apply_unless_a_flag_overrides_them(
    model, photos, tmp_path, capsys
):
    captioner = load_captioner(model)
    write_decoding(captioner.model, GenerateConfig(num_beams=2, max_new_tokens=4))
    captioner.save(tmp_path / "own")
    for flags, asked in ([], {}), (["--max-new-tokens", 9], {"max_new_tokens": 9}):
        capsys.readouterr()
        assert run(tmp_path / "own", photos / "a.png", *flags) == 0
        decoding = {"num_beams": 2, "max_new_tokens": 4, **asked}
        (caption,) = expected(model, photos / "a.png", **decoding)
        assert capsys.readouterr().out == f"{photos / 'a.png'}\t{caption}\n"


def test_sampling_flags_reach_the_decoder(model, photos, capsys):
    decoding = {"do_sample": True, "temperature": 1.5, "top_k": 5, "top_p": 0.9, "seed": 4}
    flags = ["--do-sample", "--temperature", 1.5, "--top-k", 5, "--top-p", 0.9, "--seed", 4]
    assert run(model, photos / "b.jpg", *flags, "--min-new-tokens", 4) == 0
    caption = capsys.readouterr().out.rstrip("\n").split("\t")[1]
    assert caption == expected(model, photos / "b.jpg", **decoding, min_new_tokens=4)[0]


def test_text_files_are_written_beside_the_images_and_existing_ones_are_kept(model, photos, capsys):
    (photos / "b.txt").write_text("mine")
    assert run(model, photos, "--to", "txt", "--min-new-tokens", 3) == 0
    assert (photos / "b.txt").read_text() == "mine"
    assert (photos / "sub" / "c.txt").read_text().strip()
    assert "1 already had a caption (--force captions them again)" in capsys.readouterr().err
    assert run(model, photos, "--to", "txt", "--min-new-tokens", 3, "--force") == 0
    assert (photos / "b.txt").read_text() != "mine"


def test_the_model_is_not_loaded_when_every_image_has_a_caption(photos, capsys):
    (photos / "a.txt").write_text("a dog")
    assert run("no-such-model", photos / "a.png", "--to", "txt") == 0
    assert capsys.readouterr().err.startswith("1 already had a caption")


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_the_extension_of_out_chooses_the_format(model, photos, tmp_path, ending):
    out = tmp_path / f"out.{ending}"
    flags = ["--num-beams", 1, "--min-new-tokens", 3]
    assert run(model, f"{photos}/*.png", "--out", out, *flags) == 0
    assert run(model, photos, "--out", out, *flags) == 0
    with out.open(newline="") as file:
        rows = (
            list(csv.DictReader(file)) if ending == "csv" else [json.loads(line) for line in file]
        )
    names = ["a.png", "b.jpg", "sub/c.bmp"]
    assert [row["image_id"] for row in rows] == [str(photos / name) for name in names]
    assert all(row["caption"] for row in rows)


def test_broken_images_are_listed_and_the_code_is_3(model, photos, capsys):
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "page.png").write_text("<html>404</html>")
    cut = (photos / "b.jpg").read_bytes()
    (photos / "cut.jpg").write_bytes(cut[: len(cut) // 2])
    (photos / "line\nbreak.gif").write_bytes(b"")
    assert run(model, photos, "--to", "txt", "--min-new-tokens", 3) == 3
    cost, *lines, undo = capsys.readouterr().err.splitlines()
    assert "for 7 files" in cost
    assert lines[0].startswith("3 captioned in ")
    assert lines[0].endswith("4 failed:")
    assert lines[1:] == [
        f"  failed:truncated  {photos}/cut.jpg",
        f"  failed:empty  {photos}/empty.jpg",
        f"  failed:empty  {photos}/line\\nbreak.gif",
        f"  failed:not_an_image  {photos}/page.png",
    ]
    assert undo.startswith("to undo: captune undo ")
    assert sorted(path.name for path in photos.rglob("*.txt")) == ["a.txt", "b.txt", "c.txt"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc and pipes")
@pytest.mark.parametrize("mode", ["isolated", "inline"])
def test_unreadable_files_do_not_affect_the_others(model, photos, tmp_path, capsys, mode):
    fifo = tmp_path / "fifo.jpg"
    os.mkfifo(fifo)
    inputs = ("/proc/self/mem", fifo, "/dev/zero", photos / "a.png")
    assert run(model, *inputs, "--decode", mode) == 3
    shown = capsys.readouterr()
    assert [line.split("\t")[0] for line in shown.out.splitlines()] == [str(photos / "a.png")]
    for path in inputs[:3]:
        assert f"failed:io  {path}" in shown.err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory limits are Linux's")
def test_a_bomb_is_listed_and_the_others_are_captioned(model, photos, capsys):
    (photos / "aa.tif").write_bytes(bombs.tiff_of_shared_tags())
    assert run(model, photos) == 3
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 3
    assert f"failed:memory  {photos / 'aa.tif'} (if you trust the image, use --decode" in shown.err


@pytest.mark.slow
def test_an_empty_caption_is_a_failure_and_writes_no_file(photos, tmp_path, capsys):
    captioner = build_size("blip-tiny", _tokenizer())
    captioner.model.text_decoder.cls.predictions.bias.data[captioner.eos_token_id] = 1e4
    captioner.save(tmp_path / "silent")
    assert run(tmp_path / "silent", photos / "a.png", "--to", "txt") == 3
    _, *lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("0 captioned in ")
    assert lines[1:] == [f"  failed:empty_caption  {photos}/a.png"]
    assert not list(photos.rglob("*.txt"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no-such.jpg"], "there is no no-such.jpg"),
        (["{photos}/*.gif"], "nothing matches"),
        (["{photos}", "--num-beams", "0"], "--num-beams: must be at least 1, not 0"),
        (["{photos}", "--do-sample", "--num-beams", "2"], "do_sample needs num_beams: 1"),
        (["{photos}", "--out", "x.xml"], "the ending of --out x.xml names no format"),
        (["{photos}", "--out", ""], "--out is empty"),
        (
            ["{photos}", "--to", "txt", "--out", "x"],
            "--to txt writes no single file, so --out x cannot be used with it",
        ),
        (["{photos}", "--device", "abacus"], "device 'abacus' is not available here"),
    ],
)
def test_invalid_arguments_exit_2(model, photos, capsys, words, message):
    assert run(model, *(word.format(photos=photos) for word in words)) == 2
    assert message in capsys.readouterr().err


def test_an_output_that_ends_with_a_slash_is_a_new_folder(photos, tmp_path, capsys):
    out = tmp_path / "new"
    assert run("no/model", photos, "--to", "csv", "--out", f"{out}/", "--dry-run") == 0
    assert f"all captions would go to {out / 'captions.csv'}" in capsys.readouterr().out


def test_a_missing_model_exits_2_and_leaves_no_file(photos, tmp_path, capsys):
    assert run(tmp_path / "nothing", photos, "--out", tmp_path / "o.jsonl") == 2
    assert "does not exist" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_two_images_for_one_text_file_stop_before_the_model_is_loaded(photos, capsys):
    Image.open(photos / "a.png").save(photos / "a.webp")
    assert run("no-such-model", photos, "--to", "txt") == 2
    error = capsys.readouterr().err
    assert "a.png and a.webp would share the file" in error
    assert "--sidecar-name full" in error
    assert not list(photos.rglob("*.txt"))


@pytest.mark.slow
def test_full_sidecar_names_distinguish_two_images(model, photos):
    Image.open(photos / "a.png").save(photos / "a.webp")
    flags = ["--to", "txt", "--sidecar-name", "full", "--min-new-tokens", 3]
    assert run(model, photos, *flags) == 0
    assert {path.name for path in photos.glob("*.txt")} == {
        "a.png.txt",
        "a.webp.txt",
        "b.jpg.txt",
    }


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_stops_before_the_model_is_loaded(photos, capsys):
    photos.chmod(0o555)
    try:
        assert run("no-such-model", photos, "--to", "txt") == 2
    finally:
        photos.chmod(0o755)
    assert "cannot write beside the images" in capsys.readouterr().err


@pytest.mark.slow
def test_an_interrupted_or_killed_run_resumes_where_it_stopped(model, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    # So many that a fast machine does not finish between a look at the journal and the signal.
    for number in range(160):
        Image.new("RGB", (50, 40), (number, 0, 0)).save(folder / f"{number:03}.png")
    out = tmp_path / "o.jsonl"
    words = ["caption", model, folder, "--out", out]
    words += ["--batch-size", "2", "--num-beams", "1", "--max-new-tokens", "8"]
    for stop, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        before = _journal_lines(out)
        process = run_captune(words)
        while _journal_lines(out) < before + 5:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.01)
        os.kill(process.pid, stop)
        printed, _ = process.communicate(timeout=20)
        assert process.returncode == code
        if code == 130:
            assert "are kept: run the same command again to resume" in printed
        assert not out.exists()
    printed, _ = run_captune(words).communicate(timeout=200)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [Path(row["image_id"]).name for row in rows] == [f"{n:03}.png" for n in range(160)]
    assert "already had a caption" in printed
    # A slow machine also prints lines of progress before it.
    (captioned,) = re.findall(r"^(\d+) captioned in ", printed, re.MULTILINE)
    assert int(captioned) < 150
    assert not Path(f"{out}.part").exists()


def _journal_lines(out: Path) -> int:
    journal = Path(f"{out}.part")
    return journal.read_bytes().count(b"\n") if journal.exists() else 0
