"""Read and write captions in image files, by the format that their first bytes show."""

from __future__ import annotations

from collections.abc import Callable

from captune.bulk.metadata.jpeg import SIGNATURE as JPEG
from captune.bulk.metadata.jpeg import edit_jpeg, read_jpeg
from captune.bulk.metadata.packets import Texts, edit_packet, new_packet, read_packet
from captune.bulk.metadata.png import SIGNATURE as PNG
from captune.bulk.metadata.png import edit_png, read_png
from captune.bulk.metadata.refusal import PacketError, embed_unsupported
from captune.bulk.metadata.splices import Splice, apply_splices
from captune.bulk.metadata.view import Content
from captune.bulk.metadata.webp import edit_webp, is_webp, read_webp
from captune.errors import ImageError

_MAX_BYTES = 256_000_000
_Read = Callable[[Content], Texts]
_Edit = Callable[[bytes, Texts], list[Splice]]


def read_embedded(content: Content) -> Texts:
    """Return the captions in an image file; of an open file, only the headers are read.

    Raises:
        ImageError: `embed_unsupported`: another format, a damaged file, ambiguous metadata.
    """
    return _functions(content)[0](content)


def edit_embedded(content: bytes, texts: Texts) -> list[Splice]:
    """Return the changes that write captions into a JPEG, PNG or WebP file.

    Pixels and all other metadata stay the same, byte for byte. `None` leaves a text as it is.

    Raises:
        ImageError: `embed_unsupported`: another format, a damaged file, or one in which the
            captions cannot be written without risk to other data.
    """
    read, edit = _functions(content)
    splices = edit(content, texts)
    found = read(apply_splices(content, splices))
    for wanted, now in ((texts.description, found.description), (texts.alt_text, found.alt_text)):
        if wanted is not None and now is None:
            raise embed_unsupported("its new captions could not be read back")
    return splices


def read_sidecar(content: bytes) -> Texts:
    """Return the captions of an XMP file.

    Raises:
        ImageError: `xmp_damaged`.
    """
    try:
        return read_packet(content)
    except PacketError as error:
        raise _damaged(error) from error


def edit_sidecar(content: bytes | None, texts: Texts) -> list[Splice]:
    """Return the changes that write captions into an XMP file; `None`: a new one.

    Raises:
        ImageError: `xmp_damaged`: it cannot be edited without guessing, and is kept as it is.
    """
    if not content:
        return [Splice(0, 0, new_packet(texts))]
    try:
        return [Splice(0, len(content), edit_packet(content, texts))]
    except PacketError as error:
        raise _damaged(error) from error


def _functions(content: Content) -> tuple[_Read, _Edit]:
    if len(content) > _MAX_BYTES:
        raise embed_unsupported(f"it is larger than {_MAX_BYTES // 1_000_000} MB")
    head = content[:12]
    if head.startswith(JPEG):
        return read_jpeg, edit_jpeg
    if head.startswith(PNG):
        return read_png, edit_png
    if is_webp(head):
        return read_webp, edit_webp
    raise embed_unsupported("captions can be embedded only in JPEG, PNG and WebP files")


def _damaged(error: PacketError) -> ImageError:
    return ImageError(
        "xmp_damaged", where=str(error), fix="repair or move the .xmp file; it is kept as it is"
    )
