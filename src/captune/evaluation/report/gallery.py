"""The images of a report: a telling selection, as thumbnails, with changed words marked."""

from __future__ import annotations

import base64
import io
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from captune.data import decode_image
from captune.errors import ImageError
from captune.evaluation.report.word_diff import MarkedWord, mark_words
from captune.evaluation.scoring.score_files import relative_name
from captune.records import CaptionRecord
from captune.text_safety import clean_text, shorten_words

THUMBNAIL_SIDE = 400
_JPEG_QUALITY = 78
_MAX_WORDS = 80
_MAX_REFERENCES = 8


@dataclass(frozen=True, slots=True)
class Choice:
    """An image chosen for a gallery.

    Attributes:
        place: Its position among the scored images.
        reasons: Why it was chosen, at least one of `gain`, `loss`, `worst`, `random`.
    """

    place: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ShownCaption:
    """A system's caption of an image, ready to show.

    Attributes:
        system: Name of the system.
        words: The caption, with words marked that differ from the first system's caption.
        score: Value of the metric that images are sorted by; NaN without one.
    """

    system: str
    words: tuple[MarkedWord, ...]
    score: float


@dataclass(frozen=True, slots=True)
class Card:
    """One image of a gallery.

    Attributes:
        name: Readable file name.
        thumbnail: `data:` URI of a JPEG; empty if the image cannot be decoded.
        problem: Why it cannot be decoded; empty if it can.
        size: Width and height of the thumbnail in pixels.
        references: The human captions shown.
        hidden_references: Number of human captions not shown.
        captions: One per system.
        gain: Score of the last system minus that of the first, positive is better; NaN: unknown.
        reasons: Why it was chosen.
    """

    name: str
    thumbnail: str
    problem: str
    size: tuple[int, int]
    references: tuple[str, ...]
    hidden_references: int
    captions: tuple[ShownCaption, ...]
    gain: float
    reasons: tuple[str, ...]

    @property
    def gain_text(self) -> str:
        """The gain with its sign and two decimals."""
        text = f"{self.gain:+.2f}"
        return "±0.00" if text[1:] == "0.00" else text.replace("-", "−")


def choose_images(
    gains: Sequence[float], quality: Sequence[float], *, size: int, seed: int
) -> list[Choice]:
    """Choose the biggest gains and losses, the worst captions, and random images.

    Args:
        gains: Gain per image, positive is better; NaN if unknown.
        quality: Score of the last system per image, higher is better; NaN if unknown.
        size: Maximum number of images.
        seed: Seed of the random images.

    Returns:
        Each chosen image once, in the order of the data.
    """
    total = len(quality)
    by_gain = sorted((p for p in range(total) if gains[p] > 0), key=lambda p: -gains[p])
    by_loss = sorted((p for p in range(total) if gains[p] < 0), key=lambda p: gains[p])
    known = [p for p in range(total) if not math.isnan(quality[p])]
    by_quality = sorted(known, key=lambda p: quality[p])
    share = max(1, size // 4)
    reasons: dict[int, list[str]] = {}
    for reason, places in (("gain", by_gain), ("loss", by_loss), ("worst", by_quality)):
        for place in places[:share]:
            if place in reasons or len(reasons) < size:
                reasons.setdefault(place, []).append(reason)
    # The rest is drawn from all images, so that the gallery also shows ordinary ones.
    shuffled = random.Random(seed).sample(range(total), total)
    for place in shuffled:
        if len(reasons) >= min(size, total):
            break
        reasons.setdefault(place, ["random"])
    return [Choice(place, tuple(reasons[place])) for place in sorted(reasons)]


def make_card(
    record: CaptionRecord,
    captions: Mapping[str, str],
    *,
    scores: Mapping[str, float],
    gain: float,
    reasons: tuple[str, ...],
) -> Card:
    """Build the gallery card of an image.

    Args:
        record: The image with its human captions.
        captions: System -> caption, the reference system first.
        scores: System -> its score on this image; systems may be missing.
        gain: See `Card`.
        reasons: See `Card`.
    """
    try:
        thumbnail, size, problem = *make_thumbnail(decode_image(record.image)), ""
    except ImageError as error:
        thumbnail, size, problem = "", (4, 3), error.what
    references = tuple(shorten_words(clean_text(c), _MAX_WORDS) for c in record.captions)
    return Card(
        name=clean_text(relative_name(record)),
        thumbnail=thumbnail,
        problem=problem,
        size=size,
        references=references[:_MAX_REFERENCES],
        hidden_references=max(0, len(references) - _MAX_REFERENCES),
        captions=_show_captions(captions, references, scores),
        gain=gain,
        reasons=reasons,
    )


def make_thumbnail(
    image: Image.Image, *, side: int = THUMBNAIL_SIDE
) -> tuple[str, tuple[int, int]]:
    """Return a small JPEG as a `data:` URI, and its width and height, at most `side`."""
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=_JPEG_QUALITY, optimize=True, progressive=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode(), small.size


def _show_captions(
    captions: Mapping[str, str], references: Sequence[str], scores: Mapping[str, float]
) -> tuple[ShownCaption, ...]:
    texts = {name: shorten_words(clean_text(text), _MAX_WORDS) for name, text in captions.items()}
    names = list(texts)
    first = texts[names[0]]
    shown = []
    for place, name in enumerate(names):
        # The first one is compared with the last: with two systems, each marks its own words.
        if place == 0:
            words, _ = mark_words(first, texts[names[-1]], references=references)
        else:
            _, words = mark_words(first, texts[name], references=references)
        shown.append(ShownCaption(name, words, scores.get(name, math.nan)))
    return tuple(shown)
