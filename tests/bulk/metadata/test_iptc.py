"""A caption in IPTC's older form counts as an existing one, and is never changed."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from captune.bulk.metadata import Texts, read_embedded
from captune.bulk.metadata.iptc import SIGNATURE, read_caption
from support.bulk.library import caption
from support.bulk.stub_captioner import write_stub
from support.exiftool import needs_exiftool, read_tags
from support.metadata_images import PACKET, encoded, with_segment


def data_set(record: int, number: int, value: bytes, *, is_long: bool = False) -> bytes:
    length = struct.pack(">HI", 0x8004, len(value)) if is_long else struct.pack(">H", len(value))
    return bytes((0x1C, record, number)) + length + value


def resource(number: int, data: bytes, *, name: bytes = b"") -> bytes:
    named = bytes((len(name),)) + name
    named += b"\0" * (len(named) % 2)
    block = b"8BIM" + struct.pack(">H", number) + named + struct.pack(">I", len(data)) + data
    return block + b"\0" * (len(data) % 2)


def iptc(*data_sets: bytes) -> bytes:
    return resource(0x0404, b"".join(data_sets))


def jpeg(resources: bytes, **given: object) -> bytes:
    return with_segment(encoded("jpeg", **given), 0xED, SIGNATURE + resources)


UTF8 = data_set(1, 90, b"\x1b%G")


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        (iptc(data_set(2, 120, b"two dogs")), "two dogs"),
        (iptc(UTF8, data_set(2, 120, "zwei Mädchen".encode())), "zwei Mädchen"),
        (iptc(data_set(2, 120, "zwei Mädchen".encode("latin-1"))), "zwei Mädchen"),
        (iptc(data_set(2, 25, b"dog"), data_set(2, 120, b"x" * 40, is_long=True)), "x" * 40),
        (resource(0x03ED, b"odd", name=b"res") + iptc(data_set(2, 120, b"behind")), "behind"),
        (iptc(data_set(2, 120, b" \0")), None),
        (iptc(data_set(2, 25, b"a keyword")), None),
        (iptc(data_set(2, 120, b"cut off"))[:-4], None),
        (iptc(b"\x1c\x02\x78\xff\xff" + b"\0" * 20), None),
        (b"", None),
    ],
)
def test_a_caption_is_found_in_the_resources(resources, expected):
    assert read_caption(resources) == expected
    assert read_embedded(jpeg(resources)).description == expected


def test_a_description_in_xmp_comes_first():
    content = jpeg(iptc(data_set(2, 120, b"older")), packet=PACKET)
    assert read_embedded(content).description == "by hand"


def test_a_caption_may_be_in_the_second_of_two_segments():
    resources = resource(0x040C, b"thumbnail" * 10) + iptc(data_set(2, 120, b"two dogs"))
    content = with_segment(encoded("jpeg"), 0xED, SIGNATURE + resources[50:])
    content = with_segment(content, 0xED, SIGNATURE + resources[:50])
    assert read_embedded(content) == Texts("two dogs")


@pytest.mark.parametrize("existing", [None, "append", "overwrite"])
def test_an_image_with_an_older_caption_is_skipped_or_added_to(tmp_path, existing):
    folder = tmp_path / "photos"
    folder.mkdir()
    image = folder / "a.jpg"
    before = jpeg(iptc(data_set(2, 120, b"two dogs")))
    image.write_bytes(before)
    outcome = caption(
        write_stub(tmp_path / "model"), folder, to=("metadata",), existing=existing
    ).outcome
    if existing is None:
        assert (outcome.num_skipped, image.read_bytes()) == (1, before)
        return
    description = read_embedded(image.read_bytes()).description
    assert description is not None
    assert description.startswith("two dogs\n") is (existing == "append")
    assert read_caption(iptc(data_set(2, 120, b"two dogs"))) == "two dogs"
    assert b"two dogs" in image.read_bytes()


@needs_exiftool
@pytest.mark.parametrize("charset", ["UTF8", "Latin"])
def test_exiftool_writes_what_is_read(tmp_path: Path, charset: str) -> None:
    image = tmp_path / "a.jpg"
    image.write_bytes(encoded("jpeg", exif=True))
    words = ["-IPTC:Caption-Abstract=zwei Mädchen am Meer", "-IPTC:Keywords=Meer"]
    chosen = ["-IPTC:CodedCharacterSet=UTF8"] if charset == "UTF8" else []
    subprocess.run(["exiftool", "-q", "-overwrite_original", *chosen, *words, image], check=True)
    assert read_tags(image)["IPTC:Caption-Abstract"] == "zwei Mädchen am Meer"
    assert read_embedded(image.read_bytes()).description == "zwei Mädchen am Meer"
