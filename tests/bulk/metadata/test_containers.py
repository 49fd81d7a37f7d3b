"""Captions in JPEG, PNG and WebP files: pixels, other metadata and offsets stay."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from captune.bulk.metadata import (
    FileView,
    Texts,
    apply_splices,
    edit_embedded,
    read_embedded,
    restore,
    undo_bytes,
)
from captune.errors import ImageError
from support.exiftool import needs_exiftool, read_tags, warnings_of, write_tags
from support.metadata_images import (
    FORMS,
    PACKET,
    encoded,
    multi_picture,
    picture,
    pixels,
    segment,
    with_segment,
)

TEXTS = Texts("a dög on <the> grass & more", "a dög")


def embedded(content: bytes, texts: Texts = TEXTS) -> bytes:
    return apply_splices(content, edit_embedded(content, texts))


def reason_of(content: bytes) -> str:
    with pytest.raises(ImageError, match="embed_unsupported") as error:
        edit_embedded(content, TEXTS)
    return error.value.where


@pytest.mark.parametrize("has_packet", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_pixels_stay_unchanged_and_captions_are_found(form: str, has_packet: bool) -> None:
    before = encoded(form, packet=PACKET if has_packet else None, exif=has_packet)
    after = embedded(before)
    assert pixels(after) == pixels(before)
    assert read_embedded(after) == TEXTS


@pytest.mark.parametrize("has_packet", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_undo_restores_the_earlier_file_bit_for_bit(form: str, has_packet: bool) -> None:
    before = encoded(form, packet=PACKET if has_packet else None)
    splices = edit_embedded(before, TEXTS)
    assert restore(apply_splices(before, splices), undo_bytes(before, splices)) == before


@needs_exiftool
@pytest.mark.slow
@pytest.mark.parametrize("has_packet", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_exiftool_reads_the_captions_and_all_other_metadata_unchanged(
    form: str, has_packet: bool, tmp_path: Path
) -> None:
    path = tmp_path / "image"
    path.write_bytes(encoded(form, packet=PACKET if has_packet else None, exif=has_packet))
    before, warned = read_tags(path), warnings_of(path)
    path.write_bytes(embedded(path.read_bytes()))
    after = read_tags(path)
    assert after.pop("XMP-dc:Description") in (
        TEXTS.description,
        {"x-default": TEXTS.description, "de": "von Hand"},
    )
    assert after.pop("XMP-iptcCore:AltTextAccessibility") == TEXTS.alt_text
    before.pop("XMP-dc:Description", None)
    if not has_packet:
        assert after.pop("XMP-x:XMPToolkit") == "captune"
        # The extended header of WebP, which repeats the size.
        repeated = ("WebP_Flags", "ImageWidth", "ImageHeight", "AlphaIsUsed", "VP8Version")
        before, after = (
            {k: v for k, v in tags.items() if not k.startswith("RIFF:") or k[5:] not in repeated}
            for tags in (before, after)
        )
    assert after == before
    assert warnings_of(path) == warned


def test_a_png_stores_its_captions_before_the_pixels() -> None:
    after = embedded(encoded("png"))
    assert after.index(b"iTXt") < after.index(b"IDAT")


def test_iptc_and_exif_of_a_jpeg_stay_byte_for_byte() -> None:
    iptc = segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x0c\x1c\x02\x78\0\x07by hand")
    before = encoded("jpeg", exif=True)
    end_of_exif = before.index(b"Exif") + struct.unpack(">H", before[22:24])[0] - 2
    before = before[:end_of_exif] + iptc + before[end_of_exif:]
    (splice,) = edit_embedded(before, TEXTS)
    assert splice.length == 0
    assert splice.offset == end_of_exif


def test_offsets_to_further_pictures_are_corrected() -> None:
    before = multi_picture()
    after = embedded(before)
    assert len(after) > len(before)
    for frame in (0, 1):
        with Image.open(io.BytesIO(before)) as old, Image.open(io.BytesIO(after)) as new:
            old.seek(frame)
            new.seek(frame)
            assert (new.size, new.tobytes()) == (old.size, old.tobytes())


def test_offsets_are_corrected_if_captions_go_after_the_index() -> None:
    before = multi_picture()
    start = before.index(b"\xff\xe2", 0)
    length = struct.unpack(">H", before[start + 2 : start + 4])[0] + 2
    packet = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + PACKET.replace(b" " * 2000, b""))
    # As if another program had put its XMP behind the index, and corrected it.
    offset = before.index(b"MPF\0") + 4
    second = before.index(b"\xff\xd8\xff", 10)
    moved = before[: start + length] + packet + before[start + length :]
    wanted = struct.pack("<I", second - offset)
    assert moved.count(wanted) == 1
    moved = moved.replace(wanted, struct.pack("<I", second - offset + len(packet)))
    after = embedded(moved)
    with Image.open(io.BytesIO(after)) as image:
        image.seek(1)
        assert image.size == (17, 11)
        image.load()


@needs_exiftool
def test_exiftool_finds_the_second_picture_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(multi_picture())
    before = read_tags(path)
    path.write_bytes(embedded(path.read_bytes()))
    after = read_tags(path)
    assert after["MPF0:NumberOfImages"] == 2
    assert after["MPImage2:MPImageLength"] == before["MPImage2:MPImageLength"]
    assert warnings_of(path) == ["OK"]


@pytest.mark.parametrize(
    "trailer",
    [b"\0\0\0\x18ftypmp42" + b"video" * 100, b"data" * 20 + b"\0\0\0\0SEFT", b"\0" * 50, b""],
)
def test_a_motion_photo_keeps_its_video_at_the_end(trailer: bytes) -> None:
    after = embedded(encoded("jpeg") + trailer)
    assert after.endswith(b"\xff\xd9" + trailer)


def test_unknown_data_after_the_image_is_refused_unless_nothing_moves() -> None:
    trailer = b"a preview that something points to"
    assert "unknown data follows" in reason_of(encoded("jpeg") + trailer)
    before = encoded("jpeg", packet=PACKET) + trailer
    assert len(embedded(before)) == len(before)


def test_a_preview_outside_of_exif_is_refused() -> None:
    folder = struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, 5000, 0x0202, 4, 1, 800, 0)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + folder
    assert "Exif points" in reason_of(with_segment(encoded("jpeg"), 0xE1, exif))


@pytest.mark.parametrize("form", ["jpeg", "png", "webp"])
def test_content_credentials_are_not_broken(form: str) -> None:
    content = encoded(form)
    if form == "jpeg":
        content = with_segment(content, 0xEB, b"JP\0\1credentials")
    elif form == "png":
        chunk = b"caBXcredentials!"
        whole = struct.pack(">I", 12) + chunk + struct.pack(">I", zlib.crc32(chunk))
        content = content[:33] + whole + content[33:]
    else:
        content = encoded("webp", exif=True) + b"C2PA\x04\0\0\0four"
        content = content[:4] + struct.pack("<I", len(content) - 8) + content[8:]
    assert "C2PA" in reason_of(content)


def test_extended_xmp_stays_and_its_captions_are_read() -> None:
    name = b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32
    parts = [PACKET[:1000], PACKET[1000:]]
    content = encoded("jpeg")
    for offset, part in ((1000, parts[1]), (0, parts[0])):
        head = name + struct.pack(">II", len(PACKET), offset)
        content = with_segment(content, 0xE1, head + part)
    assert read_embedded(content) == Texts("by hand")
    assert "extended XMP" in reason_of(content)


def test_extended_xmp_with_other_properties_does_not_prevent_an_edit() -> None:
    other = PACKET.replace(b"dc:description", b"dc:publisher")
    name = b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32
    content = with_segment(encoded("jpeg"), 0xE1, name + struct.pack(">II", len(other), 0) + other)
    after = embedded(content)
    assert read_embedded(after) == TEXTS
    assert other in after


def test_a_description_too_long_for_a_segment_is_refused() -> None:
    with pytest.raises(ImageError) as error:
        edit_embedded(encoded("jpeg"), Texts("word " * 20_000))
    assert "64 kB" in error.value.where


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP"])
def test_other_formats_are_refused(kind: str) -> None:
    buffer = io.BytesIO()
    picture("CMYK" if kind == "TIFF" else "RGB").save(buffer, kind)
    assert "JPEG, PNG and WebP" in reason_of(buffer.getvalue())


def test_two_packets_are_refused() -> None:
    xmp = b"http://ns.adobe.com/xap/1.0/\0" + PACKET
    assert "two XMP" in reason_of(with_segment(encoded("jpeg", packet=PACKET), 0xE1, xmp))


def test_imagemagicks_raw_profile_is_refused() -> None:
    chunk = b"tEXtRaw profile type xmp\0\nxmp\n 4\n41424344"
    whole = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    content = encoded("png")
    assert "second place" in reason_of(content[:33] + whole + content[33:])


def test_a_packet_that_unpacks_to_gigabytes_is_refused() -> None:
    chunk = b"iTXtXML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b" " * 50_000_000, 9)
    whole = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    content = encoded("png")
    assert "too large" in reason_of(content[:33] + whole + content[33:])


def test_an_animation_keeps_its_frames() -> None:
    frames = [picture(), picture().rotate(90), picture().rotate(180)]
    for kind in ("WEBP", "PNG"):
        buffer = io.BytesIO()
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
        after = embedded(buffer.getvalue())
        with Image.open(io.BytesIO(after)) as new, Image.open(buffer) as old:
            assert new.n_frames == 3
            for frame in range(3):
                old.seek(frame)
                new.seek(frame)
                assert new.tobytes() == old.tobytes()


@pytest.mark.parametrize("form", FORMS)
def test_captions_are_read_from_an_open_file_without_its_pixels(form: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(embedded(encoded(form)))
    with path.open("rb") as file:
        assert read_embedded(FileView(file)) == TEXTS


def test_reading_captions_of_a_large_file_reads_little_of_it(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((1500, 1500), 90).save(buffer, "PNG")
    path = tmp_path / "image.png"
    path.write_bytes(embedded(buffer.getvalue()))
    with CountingFile(path) as file:
        assert read_embedded(FileView(file)) == TEXTS
        assert file.num_read < path.stat().st_size / 4


class CountingFile(io.FileIO):
    """A file that counts the bytes read."""

    num_read = 0

    def read(self, size: int | None = -1) -> bytes:
        found = super().read(size)
        self.num_read += len(found)
        return found


RICH = (
    "-XMP-dc:Description=by hand",
    "-XMP-dc:Description-de=von Hand",
    "-XMP-dc:Subject=a & b",
    "-XMP:Rating=3",
    "-XMP-iptcCore:AltTextAccessibility=alt by hand",
    "-XMP-iptcExt:PersonInImage=Me",
    "-XMP-mwg-rs:RegionInfo={RegionList=[{Name=Joe,Type=Face}]}",
    "-EXIF:ImageDescription=exif",
    "-GPSLatitude=48.1",
)
STYLES = ("", "Shorthand", "NoPadding,OneDesc,NoIndent,Shorthand", "NoNewline")


@needs_exiftool
@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("form", ["jpeg", "png", "webp"])
def test_packets_in_every_style_of_exiftool_are_edited(
    form: str, style: str, tmp_path: Path
) -> None:
    path = tmp_path / f"image.{form}"
    path.write_bytes(encoded(form))
    options = ("-api", f"Compact={style}") if style else ()
    write_tags(path, *options, *RICH)
    before = read_tags(path)
    path.write_bytes(embedded(path.read_bytes()))
    after = read_tags(path)
    changed = {key for key in before if before[key] != after.get(key)}
    assert changed == {"XMP-dc:Description", "XMP-iptcCore:AltTextAccessibility"}
    assert set(after) == set(before)
    # exiftool can still edit it.
    write_tags(path, *options, "-XMP:Rating=5")
    assert read_tags(path)["XMP-xmp:Rating"] == 5
