"""XMP sidecars and embedded metadata, as bulk runs write and undo them."""

from __future__ import annotations

from pathlib import Path

import pytest

from captune.bulk.formats import PER_IMAGE_NAMES, open_per_image
from captune.bulk.formats.xmp_files import EmbeddedMetadata, XmpFiles
from captune.bulk.items import Item
from captune.bulk.metadata import Texts, read_embedded, read_sidecar
from captune.errors import ImageError, OutputError
from captune.inference import ImageFile
from support.metadata_images import PACKET, encoded


def item_of(path: Path) -> Item:
    return Item(str(path), ImageFile(str(path)))


def test_every_name_opens_the_format_of_that_name() -> None:
    assert [open_per_image(name).name for name in PER_IMAGE_NAMES] == list(PER_IMAGE_NAMES)


def test_sidecars_are_named_as_lightroom_and_darktable_name_them() -> None:
    item = item_of(Path("a/photo.jpg"))
    assert XmpFiles("stem").path_for(item) == Path("a/photo.xmp")
    assert XmpFiles("full").path_for(item) == Path("a/photo.jpg.xmp")


def test_a_new_sidecar_is_undone_by_deleting_it() -> None:
    change = XmpFiles().change(None, "a dog", existing="skip")
    assert read_sidecar(change.new) == Texts("a dog", "a dog")
    assert XmpFiles().restore(change.new, change.undo) is None


def test_a_sidecar_of_another_program_keeps_its_other_properties() -> None:
    change = XmpFiles().change(PACKET, "a dog", existing="overwrite")
    assert b'xmp:Rating="4"' in change.new
    assert b"von Hand" in change.new
    assert XmpFiles().restore(change.new, change.undo) == PACKET


@pytest.mark.parametrize(
    ("existing", "description"),
    [("append", "by hand\na dog"), ("prepend", "a dog\nby hand"), ("overwrite", "a dog")],
)
def test_a_description_written_by_hand_is_extended_or_replaced(
    existing: str, description: str
) -> None:
    change = XmpFiles().change(PACKET, "a dog", existing=existing)  # type: ignore[arg-type]
    assert read_sidecar(change.new) == Texts(description, "a dog")


def test_an_alternative_text_written_by_hand_is_replaced_only_by_overwrite() -> None:
    by_hand = PACKET.replace(b"dc:description", b"i:AltTextAccessibility").replace(
        b"xmlns:dc", b"xmlns:i='http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/' xmlns:dc"
    )
    skip = XmpFiles().change(by_hand, "a dog", existing="skip")
    assert read_sidecar(skip.new) == Texts("a dog", "by hand")
    overwrite = XmpFiles().change(by_hand, "a dog", existing="overwrite")
    assert read_sidecar(overwrite.new) == Texts("a dog", "a dog")


def test_a_damaged_sidecar_is_kept() -> None:
    with pytest.raises(ImageError, match="xmp_damaged"):
        XmpFiles().change(b"<x:xmpmeta", "a dog", existing="overwrite")


def test_an_empty_sidecar_counts_as_none(tmp_path: Path) -> None:
    path = tmp_path / "a.xmp"
    path.touch()
    assert not XmpFiles().has_caption(path)
    change = XmpFiles().change(b"", "a dog", existing="skip")
    assert XmpFiles().restore(change.new, change.undo) == b""


@pytest.mark.parametrize("form", ["jpeg", "png", "webp"])
def test_an_image_has_a_caption_once_it_is_embedded(form: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    before = encoded(form)
    path.write_bytes(before)
    metadata = EmbeddedMetadata()
    assert not metadata.has_caption(path)
    change = metadata.change(before, "a dog", existing="skip")
    path.write_bytes(change.new)
    assert metadata.has_caption(path)
    assert read_embedded(change.new) == Texts("a dog", "a dog")
    assert metadata.restore(change.new, change.undo) == before


def test_undoing_keeps_the_replaced_bytes_only() -> None:
    before = encoded("jpeg", packet=PACKET) + b"\0" * 1_000_000
    assert len(EmbeddedMetadata().change(before, "a dog", existing="overwrite").undo) < 2_000


def test_an_image_that_cannot_hold_a_caption_has_the_caption_of_its_sidecar(tmp_path: Path) -> None:
    path = tmp_path / "image.gif"
    path.write_bytes(b"GIF89a")
    metadata = EmbeddedMetadata()
    with pytest.raises(ImageError, match="embed_unsupported"):
        metadata.change(b"GIF89a", "a dog", existing="skip")
    assert not metadata.has_caption(path)
    sidecar = metadata.fallback.path_for(item_of(path))
    sidecar.write_bytes(metadata.fallback.change(None, "a dog", existing="skip").new)
    assert metadata.has_caption(path)


def test_an_image_without_a_file_is_refused() -> None:
    for form in (XmpFiles(), EmbeddedMetadata()):
        with pytest.raises(OutputError, match="no file on disk"):
            form.path_for(Item("https://example.org/a.jpg", b""))
