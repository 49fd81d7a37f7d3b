"""Files that cannot be read: a reason for that image, wherever its bytes are needed."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from captune.data import (
    DecodeOptions,
    LoadedData,
    LoadOptions,
    check_data,
    contact_sheet,
    decode_image,
    image_hash,
    load_records,
    make_shapes,
    read_source,
    write_dataset,
)
from captune.errors import DataError, ImageError
from captune.inference import digest_model
from captune.records import CaptionRecord, ZipMember

UNREADABLE = Path("/proc/self/mem")
GOOD = make_shapes(1)[0].image
linux = pytest.mark.skipif(not UNREADABLE.exists(), reason="a file whose every read fails")


@linux
def test_a_read_error_is_a_reason_wherever_bytes_are_read():
    for read in (decode_image, image_hash, read_source):
        with pytest.raises(ImageError) as caught:
            read(UNREADABLE)
        assert (caught.value.what, caught.value.where) == (
            "io",
            "/proc/self/mem: Input/output error",
        )


@linux
@pytest.mark.parametrize("images", ["copy", "link"])
def test_converting_skips_unreadable_images_and_leaves_no_partial_file(tmp_path, images):
    (tmp_path / "good.png").write_bytes(GOOD)
    records = [
        CaptionRecord("good", tmp_path / "good.png", ("a dog",)),
        CaptionRecord("mem", UNREADABLE, ("a dog",), file_name="mem.png"),
        CaptionRecord("long", tmp_path / ("x" * 5000), ("a dog",), file_name="long.png"),
        CaptionRecord("gone", tmp_path / "gone.png", ("a dog",)),
    ]
    skipped = write_dataset(records, tmp_path / "out", format="jsonl", images=images)
    assert [(s.image_id, s.reason) for s in skipped] == [
        ("mem", "io"),
        ("long", "io"),
        ("gone", "missing"),
    ]
    assert [p.name for p in (tmp_path / "out" / "images").iterdir()] == ["good.png"]


@linux
@pytest.mark.parametrize("mode", ["inline", "isolated"])
def test_checks_and_sheets_report_unreadable_images(tmp_path, mode):
    (tmp_path / "good.png").write_bytes(GOOD)
    records = (
        CaptionRecord("good", tmp_path / "good.png", ("a dog",)),
        CaptionRecord("mem", UNREADABLE, ("a dog",), file_name="mem.png"),
    )
    found = check_data(LoadedData(records), decoding=DecodeOptions(mode))
    assert [(s.file, s.reason) for s in found.unreadable] == [("mem.png", "io")]
    assert contact_sheet(records, decode=mode).height > 100


def test_an_archive_replaced_by_a_pointer_fails_its_image(tmp_path):
    archive = tmp_path / "images.zip"
    archive.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ImageError) as caught:
        decode_image(ZipMember(archive, "a.png"))
    assert caught.value.what == "io"


def test_a_header_without_an_image_is_described_without_pillows_file_object(tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(GOOD[:8] + bytes(400))
    with pytest.raises(ImageError) as caught:
        decode_image(path)
    assert caught.value.where == f"{path}: cannot identify image file"


def test_running_out_of_memory_has_its_own_reason(monkeypatch):

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.core, "new", fail)
    with pytest.raises(ImageError) as caught:
        decode_image(GOOD)
    assert (caught.value.what, caught.value.where) == (
        "memory",
        f"{len(GOOD)} bytes: not enough memory to decode it",
    )


@linux
def test_a_read_error_of_a_data_file_or_a_model_names_the_file(tmp_path):
    for name in ("data.jsonl", "metadata.csv"):
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        (folder / "good.png").write_bytes(GOOD)
        (folder / name).symlink_to(UNREADABLE)
        with pytest.raises(DataError, match=f"cannot read .*{name}: Input/output error") as caught:
            load_records(str(folder), LoadOptions(allow_outside=True))
        assert "check the disk" in caught.value.fix
    (tmp_path / "config.json").symlink_to(UNREADABLE)
    with pytest.raises(OSError, match="Input/output error") as failed:
        digest_model(str(tmp_path))
    assert failed.value.filename == str(tmp_path / "config.json")
