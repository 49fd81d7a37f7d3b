"""A contact sheet: rows of images with their captions, for a look at the data."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from captune.data.decoders.decoder import DecodeMode, open_decoder
from captune.data.decoders.interface import ImageDecoder
from captune.data.images import DEFAULT_MAX_PIXELS
from captune.data.sheet.fonts import choose_font
from captune.errors import DataError, ImageError
from captune.records import CaptionRecord

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_MARGIN = 24
_GAP = 20
_PADDING = 12
_TEXT_SIZE = 15
_NAME_SIZE = 12
_LINE = 20
_NAME_LINE = 22
_BETWEEN = 5
_INDENT = 12
_MOST_LINES = 14
_TALLEST = 1.0
"""Maximum ratio of height to width of a picture."""
_BROKEN_HEIGHT = 120
_CORNER = 10
_PAPER = (242, 243, 245)
_CARD = (255, 255, 255)
_EDGE = (222, 225, 230)
_MAT = (233, 235, 239)
_INK = (28, 32, 38)
_FADED = (116, 124, 136)
_BROKEN = (178, 52, 44)
_MOST_PIXELS = 300_000_000
"""Of a sheet, which takes three bytes per pixel."""


@dataclass(frozen=True, slots=True)
class _Card:
    picture: Image.Image | None
    reason: str
    name: str
    captions: list[list[str]]


@dataclass(frozen=True, slots=True)
class _Row:
    cards: Sequence[_Card]

    @property
    def frame(self) -> int:
        """Height of the pictures; equal for a row, so that all its captions start on one line."""
        return max(card.picture.height if card.picture else _BROKEN_HEIGHT for card in self.cards)

    @property
    def height(self) -> int:
        return self.frame + max(_text_height(card) for card in self.cards) + 3 * _PADDING


def contact_sheet(
    records: Sequence[CaptionRecord],
    *,
    columns: int = 5,
    cell_width: int = 260,
    max_captions: int = 5,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    decode: DecodeMode = "inline",
) -> Image.Image:
    """Draw images with their captions, wrapped; captions of more than 14 lines are cut.

    Args:
        records: Records to draw, in reading order.
        columns: Images per row; fewer when there are fewer records.
        cell_width: Width of an image with its captions, in pixels.
        max_captions: Maximum captions shown per image; the number of others is shown.
        max_pixels: Images with more are shown as unreadable.
        decode: Where images are decoded: `isolated` for untrusted images.

    Returns:
        An RGB image. An unreadable image is drawn as a field with the reason.

    Raises:
        DataError: There is nothing to draw, the cells are too small, or the sheet is too large.
    """
    if not records or columns < 1 or cell_width < 80:
        raise DataError(
            f"cannot draw {len(records)} images in {columns} columns of {cell_width} pixels",
            fix="use at least one image, one column and 80 pixels",
        )
    columns = min(columns, len(records))
    width = cell_width - 2 * _PADDING
    # Before anything is drawn: one picture may be as high as it is wide.
    _check_size((columns * cell_width, cell_width))
    # Twice the drawn width, so that a JPEG decoded smaller looks the same.
    smallest = (2 * width, 1)
    with open_decoder(decode, max_pixels=max_pixels, smallest=smallest) as decoder:
        cards = [
            _make_card(record, width=width, max_captions=max_captions, decoder=decoder)
            for record in records
        ]
    rows = [_Row(cards[start : start + columns]) for start in range(0, len(cards), columns)]
    return _draw_rows(rows, columns=columns, cell_width=cell_width)


def _check_size(size: tuple[int, int]) -> None:
    if size[0] * size[1] > _MOST_PIXELS:
        raise DataError(
            f"a contact sheet of {size[0]:,} x {size[1]:,} pixels is too large",
            fix=f"use fewer images or narrower cells: {_MOST_PIXELS:,} pixels at most",
        )


def _make_card(
    record: CaptionRecord, *, width: int, max_captions: int, decoder: ImageDecoder
) -> _Card:
    picture, reason = None, ""
    try:
        picture = decoder.decode(record.image, lambda image: _fit(image, width=width))
    except ImageError as error:
        reason = error.what.replace("_", " ")
    captions = [
        _wrap(_clean(caption), width=width - _INDENT) for caption in record.captions[:max_captions]
    ]
    num_hidden = len(record.captions) - max_captions
    if num_hidden > 0:
        captions.append([f"and {num_hidden} more"])
    name = record.file_name or record.image_id
    return _Card(picture, reason, _shorten(name, limit=width // 7), captions)


def _fit(image: Image.Image, *, width: int) -> Image.Image:
    scale = min(width / image.width, width * _TALLEST / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    method = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
    return image.resize(size, method)


def _wrap(caption: str, *, width: int) -> list[str]:
    lines, font = [""], _load_font(caption, _TEXT_SIZE)
    for word in caption.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            # A word wider than the column (a URL) is broken at any letter.
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    if len(lines) > _MOST_LINES:
        return [*lines[: _MOST_LINES - 1], lines[_MOST_LINES - 1].rstrip() + " ..."]
    return lines


def _clean(text: str) -> str:
    # No font has glyphs for control characters, or for bytes of names that are not UTF-8.
    readable = text.encode("utf-8", "replace").decode()
    return "".join(letter if letter.isprintable() else " " for letter in readable)


def _shorten(name: str, *, limit: int) -> str:
    name = _clean(name)
    if len(name) <= limit:
        return name
    half = (limit - 3) // 2
    return f"{name[:half]}...{name[-half:]}"


def _text_height(card: _Card) -> int:
    lines = sum(len(caption) for caption in card.captions)
    between = _BETWEEN * max(0, len(card.captions) - 1)
    return _NAME_LINE + lines * _LINE + between


def _draw_rows(rows: Sequence[_Row], *, columns: int, cell_width: int) -> Image.Image:
    size = (
        2 * _MARGIN + columns * cell_width + (columns - 1) * _GAP,
        2 * _MARGIN + sum(row.height for row in rows) + (len(rows) - 1) * _GAP,
    )
    _check_size(size)
    sheet = Image.new("RGB", size, _PAPER)
    top = _MARGIN
    for row in rows:
        for place, card in enumerate(row.cards):
            left = _MARGIN + place * (cell_width + _GAP)
            box = (left, top, left + cell_width, top + row.height)
            _draw_card(sheet, card, box=box, frame=row.frame)
        top += row.height + _GAP
    return sheet


def _draw_card(
    sheet: Image.Image,
    card: _Card,
    *,
    box: tuple[int, int, int, int],
    frame: int,
) -> None:
    draw = ImageDraw.Draw(sheet)
    draw.rounded_rectangle(box, radius=_CORNER, fill=_CARD, outline=_EDGE)
    left, top, right = box[0] + _PADDING, box[1] + _PADDING, box[2] - _PADDING
    draw.rectangle((left, top, right - 1, top + frame - 1), fill=_MAT)
    if card.picture is not None:
        place = (
            left + (right - left - card.picture.width) // 2,
            top + (frame - card.picture.height) // 2,
        )
        sheet.paste(card.picture, place)
    else:
        centre = ((left + right) // 2, top + frame // 2)
        font = _load_font(card.reason, _TEXT_SIZE)
        draw.text(centre, card.reason, font=font, fill=_BROKEN, anchor="mm")
    line = top + frame + _PADDING
    draw.text((left, line), card.name, font=_load_font(card.name, _NAME_SIZE), fill=_FADED)
    line += _NAME_LINE
    for caption in card.captions:
        font = _load_font("".join(caption), _TEXT_SIZE)
        draw.text((left, line), "\u2022", font=_load_font("", _TEXT_SIZE), fill=_FADED)
        for text in caption:
            draw.text((left + _INDENT, line), text, font=font, fill=_INK)
            line += _LINE
        line += _BETWEEN


def _load_font(text: str, size: int) -> _Font:
    """Return the font for a text, of a size in pixels."""
    path = choose_font(text)
    return ImageFont.load_default(size) if path is None else _open_font(str(path), size)


@functools.cache
def _open_font(path: str, size: int) -> _Font:
    try:
        return ImageFont.truetype(path, size)
    except OSError:
        # Pillow cannot read every kind of font that matplotlib can.
        return ImageFont.load_default(size)
