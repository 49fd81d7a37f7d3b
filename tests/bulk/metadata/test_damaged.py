"""A damaged file gives an error, or a file that is as good as it was."""

from __future__ import annotations

import io
import itertools
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from captune.bulk.metadata import (
    Texts,
    apply_splices,
    edit_embedded,
    read_embedded,
    restore,
    undo_bytes,
)
from captune.errors import ImageError
from support.metadata_images import FORMS, PACKET, encoded, multi_picture
from support.mutated_images import mutated_images

TEXTS = Texts("a dog", "a dog on grass")


def frames(content: bytes) -> list[bytes] | None:
    """Return the pixels of all frames; `None` for a file that Pillow refuses."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            found = []
            for frame in range(min(getattr(image, "n_frames", 1), 3)):
                image.seek(frame)
                image.load()
                found.append(image.tobytes())
            return found
    except (OSError, ValueError, SyntaxError, EOFError):
        return None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None


def check(content: bytes) -> bool:
    """Return whether captions were embedded; assert that nothing became worse."""
    try:
        splices = edit_embedded(content, TEXTS)
    except ImageError as error:
        assert error.what == "embed_unsupported"
        return False
    after = apply_splices(content, splices)
    assert restore(after, undo_bytes(content, splices)) == content
    assert read_embedded(after) == TEXTS
    before = frames(content)
    if before is not None:
        assert frames(after) == before
    return True


WHOLE = [
    *(encoded(form, packet=PACKET, exif=True) for form in FORMS),
    *(encoded(form) for form in FORMS),
    multi_picture(),
]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_damaged_file_is_refused_or_stays_as_good_as_it_was(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(WHOLE)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(0, len(content) - 1)))
        length = data.draw(st.sampled_from([0, 1, 2, 4, 30]))
        content[at : at + length] = data.draw(st.binary(max_size=6))
    check(bytes(content))


def test_a_file_truncated_anywhere_is_refused_or_stays_as_good_as_it_was() -> None:
    for content in WHOLE:
        for end in {*range(0, min(len(content), 400)), *range(0, len(content), 37)}:
            check(content[:end])


@pytest.mark.slow
def test_thousands_of_broken_images_of_all_formats_stay_as_good_as_they_were() -> None:
    assert sum(map(check, itertools.islice(mutated_images(seed=13), 20_000))) > 1_000


EMPTY_CHUNK = b"\0\0\0\0tEXt" + struct.pack(">I", zlib.crc32(b"tEXt"))


def in_webp(old: bytes, new: bytes) -> bytes:
    return encoded("webp", packet=PACKET.replace(old, new))


HOSTILE = {
    "a million chunks": encoded("png")[:33] + EMPTY_CHUNK * 1_100_000 + encoded("png")[33:],
    "many chunks": encoded("png")[:33] + EMPTY_CHUNK * 95_000 + encoded("png")[33:],
    "segments without end": b"\xff\xd8" + b"\xff\xe0\0\2" * 1_000_000,
    "fill bytes": b"\xff\xd8" + b"\xff" * 20_000_000,
    "elements": in_webp(b"<dc:subject>", b"<dc:subject>" + b"<a/>" * 400_000),
    "a long attribute": in_webp(b'xmp:Rating="', b'xmp:Rating="' + b"> '" * 500_000),
    "many attributes": in_webp(
        b"xmp:Rating", b" ".join(b'xmp:r%d="1"' % n for n in range(100_000)) + b" xmp:Rating"
    ),
    "spaces": in_webp(b"xmp:Rating", b" " * 1_500_000 + b"xmp:Rating"),
    "descriptions": in_webp(b"<dc:subject>", b"<dc:description/>" * 90_000 + b"<dc:subject>"),
    "languages": in_webp(b"<rdf:li xml:lang", b"<rdf:li>a</rdf:li>" * 80_000 + b"<rdf:li xml:lang"),
    "depth": in_webp(b"<dc:subject>", b"<a>" * 500_000),
}

EMBED = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (1_500_000_000, 1_500_000_000))
resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
from captune.bulk.metadata import Texts, apply_splices, edit_embedded
from captune.errors import ImageError
content = Path(sys.argv[1]).read_bytes()
try:
    apply_splices(content, edit_embedded(content, Texts("a dog")))
except ImageError as error:
    assert error.what == "embed_unsupported"
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limits of memory and time")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_takes_less_than_ten_seconds_and_a_gigabyte_and_a_half(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / "image"
    path.write_bytes(HOSTILE[name])
    run = subprocess.run(
        [sys.executable, "-c", EMBED, str(path)], capture_output=True, check=False, text=True
    )
    assert (run.returncode, run.stderr) == (0, "")
