"""The findings of a data check as plain values, for JSON, the page and the terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import ClassVar, Literal

from captune.data.dataset import SkippedImage

Severity = Literal["error", "warning"]
LeakKind = Literal["exact", "near", "group", "given"]


@dataclass(frozen=True, slots=True)
class BatchCounter:
    """Counts the tokens of captions, many at once.

    Attributes:
        count: Returns the tokens of each caption in training, including special ones.
    """

    count: Callable[[Sequence[str]], list[int]]

    def __call__(self, caption: str) -> int:
        """Return the tokens of one caption."""
        return self.count([caption])[0]


@dataclass(frozen=True, slots=True)
class DataProblem:
    """One problem of a data set.

    Attributes:
        severity: `error`: scores would be wrong or images are lost; `warning`: worth a look.
        text: The problem, with figures.
        fix: How to fix it.
    """

    severity: Severity
    text: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class LengthStats:
    """Lengths of the captions, in words or in tokens.

    Attributes:
        mean: Mean.
        median: Half of the captions are at most this long.
        p95: 95 % of the captions are at most this long.
        longest: The maximum.
        histogram: Number of captions by length, ascending.
    """

    mean: float
    median: int
    p95: int
    longest: int
    histogram: dict[int, int]


@dataclass(frozen=True, slots=True)
class CommonCaption:
    """A caption that many images share.

    Attributes:
        caption: As first written.
        num_images: Images that have it, ignoring letter case and punctuation.
    """

    caption: str
    num_images: int


@dataclass(frozen=True, slots=True)
class SplitLeak:
    """Equal images, or images of one group, in several splits.

    Attributes:
        kind: `exact` pixels, `near` pixels, `group`, or `given` twice by the data set itself.
        image_ids: The images.
        splits: Their splits.
    """

    kind: LeakKind
    image_ids: tuple[str, ...]
    splits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DataCheck:
    """The findings of a data check.

    Attributes:
        source: Format and folder of the data set.
        num_images: Images with a caption and a file.
        num_captions: Their captions.
        splits: Images by split, `none` for those without one.
        captions_per_image: Number of images by number of captions, ascending.
        widths: Smallest, median and largest width in pixels; empty when no image was read.
        heights: The same for the heights.
        words: Length of the captions in words separated by spaces.
        tokens: Length in tokens of the model's tokenizer; `None` without one.
        max_caption_tokens: Maximum tokens per caption in training.
        num_cut: Number of longer captions; 0 without a tokenizer.
        vocabulary: Number of different words, ignoring letter case.
        skipped: Images skipped while reading: missing files, no caption.
        unreadable: Images whose file cannot be decoded.
        exact_duplicates: Groups of ids with equal pixels.
        near_duplicates: Groups of ids that look the same.
        leaks: Equal images, or images of one group, in several splits.
        empty_captions: Ids of images with an empty caption.
        placeholder_captions: Captions that describe nothing: `n/a`, a file name, a URL.
        common_captions: Captions that many images share, most frequent first.
        repeated_captions: Ids of images that have the same caption twice.
        unspaced_script: The script of the captions, if it has no spaces between words; empty:
            words are separated.
        characters: Length of such captions in characters; `None` for other scripts.
        notes: Decisions made while reading.
        problems: Problems in sentences, errors first.
        examples: Some images with each placeholder or common caption; not in the JSON.
        repeats: A caption that each of the first images has twice, by id; not in the JSON.
        previews: Small JPEGs of images on the page, as data URIs by id; not in the JSON.
        SHOWN_GROUPS: Groups per kind of finding on the page.
        SHOWN: Images per group on the page.
    """

    SHOWN_GROUPS: ClassVar[int] = 24
    SHOWN: ClassVar[int] = 4

    source: str
    num_images: int
    num_captions: int
    splits: dict[str, int]
    captions_per_image: dict[int, int]
    widths: tuple[int, ...]
    heights: tuple[int, ...]
    words: LengthStats
    tokens: LengthStats | None
    max_caption_tokens: int
    num_cut: int
    vocabulary: int
    skipped: tuple[SkippedImage, ...] = ()
    unreadable: tuple[SkippedImage, ...] = ()
    exact_duplicates: tuple[tuple[str, ...], ...] = ()
    near_duplicates: tuple[tuple[str, ...], ...] = ()
    leaks: tuple[SplitLeak, ...] = ()
    empty_captions: tuple[str, ...] = ()
    placeholder_captions: tuple[CommonCaption, ...] = ()
    common_captions: tuple[CommonCaption, ...] = ()
    repeated_captions: tuple[str, ...] = ()
    unspaced_script: str = ""
    characters: LengthStats | None = None
    notes: tuple[str, ...] = ()
    problems: tuple[DataProblem, ...] = ()
    examples: dict[str, tuple[str, ...]] = field(default_factory=dict)
    repeats: dict[str, str] = field(default_factory=dict)
    previews: dict[str, str] = field(default_factory=dict)

    @property
    def lengths(self) -> LengthStats:
        """Length of the captions in words, or in characters where words are not separated."""
        return self.characters or self.words

    @property
    def num_errors(self) -> int:
        """Number of problems that make scores wrong or lose images."""
        return sum(problem.severity == "error" for problem in self.problems)

    def to_json(self) -> str:
        """Return the findings as indented JSON; keys are the attributes, without images."""
        values = asdict(self)
        del values["previews"], values["examples"], values["repeats"]
        # ASCII, because ids may contain bytes of file names that are not UTF-8.
        return json.dumps(values, indent=2) + "\n"
