"""Downloads of the page, read back by other programs."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from captune import load_records
from support.runs.forks import run_captune
from support.serving.browser import add, image_files
from support.serving.pictures import png, stub_caption

pytestmark = pytest.mark.slow


def download(page: Any, button: str, folder: Path) -> Path:
    """Press a button of the menu and return the file."""
    page.click("#downloads > summary")
    with page.expect_download() as started:
        page.click(button)
    path = folder / started.value.suggested_filename
    started.value.save_as(path)
    return path


def test_texts_are_in_a_zip_with_a_file_per_image(page: Any, shots: Path) -> None:
    same = [image_files([number], name="Été à la plage.png")[0] for number in (1, 2)]
    add(page, [*same, *image_files([3])])
    path = download(page, "#download-texts", shots)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        found = {name: archive.read(name).decode() for name in archive.namelist()}
    assert found == {
        "Été à la plage.txt": f"{stub_caption(1)}\n",
        "Été à la plage-2.txt": f"{stub_caption(2)}\n",
        "photo-3.txt": f"{stub_caption(3)}\n",
    }


def test_json_lines_have_confidence_edits_and_errors(page: Any, shots: Path) -> None:
    broken = {"name": "bad.jpg", "mimeType": "image/jpeg", "buffer": b"no image"}
    add(page, [*image_files([1, 2]), broken])
    page.locator("textarea.caption").nth(1).fill("my words")
    lines = download(page, "#download-lines", shots).read_text().splitlines()
    first, second, third = map(json.loads, lines)
    assert first == {
        "image_id": "photo-1.png",
        "caption": stub_caption(1),
        "edited": False,
        "model": "one",
        "mean_logprob": -0.5,
        "flags": [],
        "alternatives": [],
    }
    assert (second["caption"], second["edited"], second["mean_logprob"]) == ("my words", True, None)
    assert third["image_id"] == "bad.jpg"
    assert third["error"]["code"].startswith("image_")


def test_corrections_are_a_data_set_that_captune_reads(page: Any, shots: Path) -> None:
    add(page, image_files([1, 2, 3]))
    page.locator("textarea.caption").nth(0).fill("a dog\non a  beach")
    page.get_by_role("button", name="The caption of photo-3.png is right").click()
    path = download(page, "#download-corrections", shots)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        archive.extractall(shots / "data")
    records = {record.image_id: record for record in load_records(str(shots / "data")).records}
    assert {name: record.captions for name, record in records.items()} == {
        "images/photo-1.png": ("a dog on a beach",),
        "images/photo-3.png": (stub_caption(3),),
    }
    assert (shots / "data" / "images" / "photo-1.png").read_bytes() == png(1)
    line = (shots / "data" / "metadata.jsonl").read_text().splitlines()[0]
    assert json.loads(line)["model_wrote"] == stub_caption(1)


def test_captune_run_trains_on_corrections(page: Any, shots: Path) -> None:
    add(page, image_files(range(12)))
    for number in range(12):
        page.get_by_role("button", name=f"The caption of photo-{number}.png is right").click()
    path = download(page, "#download-corrections", shots)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(shots / "data")
    settings = (
        f"data.path={shots / 'data'}",
        *("train.max_steps=1", "train.trackers=[]", "train.device=cpu", "generate.num_beams=1"),
        *("generate.max_new_tokens=4", "evaluate.metrics=[bleu]", "evaluate.baseline=false"),
    )
    flags = [word for setting in settings for word in ("--set", setting)]
    # In a process of its own: the browser's event loop runs in this one.
    process = run_captune(["run", "demo", *flags, "--out", shots / "run"])
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert (shots / "run" / "model" / "config.json").is_file()


def test_corrections_without_one_of_their_files_say_which(page: Any, tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    file.write_bytes(png(1))
    add(page, [file])
    page.get_by_role("button", name="The caption of photo.png is right").click()
    file.unlink()
    page.click("#downloads > summary")
    page.click("#download-corrections")
    page.wait_for_selector("#notice >> text=deleted after you added it: photo.png")


def test_corrections_need_an_edit_or_an_approval(page: Any) -> None:
    add(page, image_files([1]))
    page.click("#downloads > summary")
    assert page.locator("#download-corrections").is_disabled()
    assert "first" in page.inner_text("#corrections-text")


def test_the_checksum_is_that_of_zip(page: Any) -> None:
    content = png(1)
    script = "bytes => import('/page/zip.js').then(zip => zip.crc32(new Uint8Array(bytes)))"
    assert page.evaluate(script, list(content)) == zlib.crc32(content)


SAFE_NAMES = {
    "../../etc/passwd.png": ["passwd", "png"],
    "C:\\photos\\a?b*.JPG": ["a_b_", "jpg"],
    "CON.png": ["CON_", "png"],
    "..": ["image", ""],
    "gnp\u202egpj.exe": ["gnp_gpj", "exe"],
    "a" * 300 + ".png": ["a" * 80, "png"],
    "\U0001f600" * 80 + ".png": ["\U0001f600" * 50, "png"],
}


def test_names_are_safe_on_every_system(page: Any) -> None:
    script = "name => import('/page/zip.js').then(zip => Object.values(zip.safeName(name)))"
    assert {name: page.evaluate(script, name) for name in SAFE_NAMES} == SAFE_NAMES


def test_names_that_differ_in_case_only_are_made_unique(page: Any) -> None:
    script = """() => import('/page/zip.js').then(zip => {
      const unique = zip.uniqueNames();
      return [unique('A', 'png'), unique('a', 'png'), unique('a', 'txt')];
    })"""
    assert page.evaluate(script) == ["A.png", "a-2.png", "a.txt"]
