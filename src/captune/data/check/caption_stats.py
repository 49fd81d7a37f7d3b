"""Statistics of captions: lengths, placeholders, and captions that many images share."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import numpy.typing as npt

from captune.data.check.findings import BatchCounter, CommonCaption, LengthStats
from captune.data.record_store import CaptionTexts, PlainRecord, iter_plain
from captune.records import CaptionRecord

_MIN_SHARED = 3
_MOST_LISTED = 20
_AT_ONCE = 1000
_PLACEHOLDERS = frozenset(
    (
        *("", "n a", "na", "none", "null", "nan", "no caption", "caption", "untitled", "unknown"),
        *("todo", "tbd", "test", "image", "photo", "picture", "no description", "description"),
        *("true", "false"),
    )
)
# ASCII in lower case, with a space for all but letters, digits and the underscore.
_ASCII_WORDS = {n: chr(n).lower() if re.match(r"\w", chr(n)) else " " for n in range(128)}
_FILE_URL_OR_NUMBER = re.compile(
    r"^([-+]?[\d.,]+(e[-+]?\d+)?|https?://\S+|www\.\S+|\S+\.(jpe?g|png|gif|webp|bmp|tiff?|heic)|(img|dsc|dscn|pxl)[_-]?\d+)$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class CaptionFacts:
    """What one pass over the captions of a data set finds.

    Attributes:
        num_captions: Number of captions.
        per_image: Number of images by number of captions, ascending.
        words: Lengths in words separated by spaces.
        characters: Lengths in characters without spaces.
        tokens: Lengths in tokens; `None`: they were not counted.
        num_cut: Captions of more than the maximum of tokens.
        vocabulary: Number of different words, ignoring letter case.
        empty: Ids of images with an empty caption, or none.
        repeated: Ids of images that have the same caption twice.
        placeholders: Captions that describe nothing, by frequency.
        common: Captions of at least three images, most frequent first, at most 20.
    """

    num_captions: int
    per_image: dict[int, int]
    words: LengthStats
    characters: LengthStats
    tokens: LengthStats | None
    num_cut: int
    vocabulary: int
    empty: tuple[str, ...]
    repeated: tuple[str, ...]
    placeholders: tuple[CommonCaption, ...]
    common: tuple[CommonCaption, ...]


def measure_captions(
    records: Sequence[CaptionRecord],
    *,
    count_tokens: Callable[[str], int] | BatchCounter | None,
    max_tokens: int,
) -> CaptionFacts:
    """Measure all captions in one pass; what is kept of each is a number."""
    tally = _Tally()
    for record in iter_plain(records):
        tally.add(record)
    tokens = None if count_tokens is None else Counter(_iter_counts(records, count_tokens))
    cut = (number for length, number in (tokens or {}).items() if length > max_tokens)
    return CaptionFacts(
        num_captions=tally.words.total(),
        per_image=dict(sorted(tally.per_image.items())),
        words=_summarize(tally.words),
        characters=_summarize(tally.characters),
        tokens=None if tokens is None else _summarize(tokens),
        num_cut=sum(cut),
        vocabulary=len(tally.vocabulary),
        empty=tuple(tally.empty),
        repeated=tuple(tally.repeated),
        placeholders=_list_frequent(tally.placeholders),
        common=_find_common(records, np.array(tally.hashes, np.int64)),
    )


@dataclass(slots=True)
class _Tally:
    per_image: Counter[int] = field(default_factory=Counter)
    words: Counter[int] = field(default_factory=Counter)
    characters: Counter[int] = field(default_factory=Counter)
    vocabulary: set[str] = field(default_factory=set)
    empty: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    placeholders: Counter[str] = field(default_factory=Counter)
    hashes: array[int] = field(default_factory=lambda: array("q"))

    def add(self, record: PlainRecord) -> None:
        """Count the captions of one image."""
        captions = record.captions
        self.per_image[len(captions)] += 1
        keys, placeholders, has_empty = set[str](), set[str](), not captions
        for caption in captions:
            words, found = caption.split(), _find_words(caption)
            key = " ".join(found)
            self.words[len(words)] += 1
            self.characters[len("".join(words))] += 1
            self.vocabulary.update(found)
            self.hashes.append(hash(key))
            keys.add(key)
            has_empty = has_empty or not words
            if key in _PLACEHOLDERS or (len(words) == 1 and _is_name_or_number(words[0])):
                placeholders.add(caption)
        if has_empty:
            self.empty.append(record.image_id)
        if len(keys) < len(captions):
            self.repeated.append(record.image_id)
        if placeholders:
            self.placeholders.update(placeholders - {""})


def _iter_counts(
    records: Sequence[CaptionRecord], count_tokens: Callable[[str], int] | BatchCounter
) -> Iterator[int]:
    texts = iter(CaptionTexts(records))
    if not isinstance(count_tokens, BatchCounter):
        yield from map(count_tokens, texts)
        return
    while some := list(islice(texts, _AT_ONCE)):
        yield from count_tokens.count(some)


def measure_lengths(lengths: Iterable[int]) -> LengthStats:
    """Return mean, quantiles and histogram of lengths; zeros when there are none."""
    return _summarize(Counter(lengths))


def _summarize(counts: Counter[int]) -> LengthStats:
    if not counts:
        return LengthStats(0.0, 0, 0, 0, {})
    histogram = dict(sorted(counts.items()))
    total = counts.total()
    return LengthStats(
        mean=sum(length * number for length, number in histogram.items()) / total,
        median=_quantile(histogram, 0.5),
        p95=_quantile(histogram, 0.95),
        longest=max(histogram),
        histogram=histogram,
    )


def _find_common(
    records: Sequence[CaptionRecord], hashes: npt.NDArray[np.int64]
) -> tuple[CommonCaption, ...]:
    """Return captions of at least three images, most frequent first, at most 20.

    Args:
        records: The images.
        hashes: Hash of each caption's words, in order: only captions whose hash is frequent are
            counted as texts.
    """
    values, numbers = np.unique(hashes, return_counts=True)
    # Captions that an image has twice count once, so a frequent hash may have fewer images.
    frequent = set(values[numbers >= _MIN_SHARED].tolist())
    if not frequent:
        return ()
    spelled: dict[str, str] = {}
    counts: Counter[str] = Counter()
    place = 0
    for record in iter_plain(records):
        own: dict[str, str] = {}
        for caption in record.captions:
            if int(hashes[place]) in frequent:
                own[normalise_caption(caption)] = caption
            place += 1
        counts.update(key for key in own if key)
        for key, caption in own.items():
            spelled.setdefault(key, caption)
    shared = [(key, number) for key, number in counts.most_common() if number >= _MIN_SHARED]
    return tuple(CommonCaption(spelled[key], number) for key, number in shared[:_MOST_LISTED])


def _list_frequent(counts: Counter[str]) -> tuple[CommonCaption, ...]:
    return tuple(CommonCaption(text, number) for text, number in counts.most_common())


def is_placeholder(caption: str) -> bool:
    """Return whether a caption describes nothing."""
    return normalise_caption(caption) in _PLACEHOLDERS or _is_name_or_number(caption.strip())


def _is_name_or_number(text: str) -> bool:
    """Return whether a text, without white space around it, is a file name, a URL or a number."""
    return _FILE_URL_OR_NUMBER.match(text) is not None


def normalise_caption(caption: str) -> str:
    """Return lower-case words with single spaces: equal for captions with the same words."""
    return " ".join(_find_words(caption))


def _find_words(caption: str) -> list[str]:
    """Return the words of a caption in lower case; ASCII in a third of the time."""
    if caption.isascii():
        return caption.translate(_ASCII_WORDS).split()
    return re.findall(r"\w+", caption.casefold())


def _quantile(histogram: dict[int, int], share: float) -> int:
    # The smallest value that is at least as large as this share of the values.
    wanted = max(0, -int(-share * sum(histogram.values()) // 1) - 1)
    for length, number in histogram.items():
        if wanted < number:
            return length
        wanted -= number
    raise AssertionError("the share is at most 1")
