"""What a check of a data set finds, as plain values: for JSON, for a page, for a terminal."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Literal

from captune.data.dataset import SkippedImage

Severity = Literal["error", "warning"]
LeakKind = Literal["exact", "near", "group", "given"]


@dataclass(frozen=True, slots=True)
class DataProblem:
    """One thing wrong with a data set.

    Attributes:
        severity: `error`: scores would be wrong or images are lost; `warning`: look at it.
        text: What, with figures.
        fix: What to do about it.
    """

    severity: Severity
    text: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class LengthStats:
    """Lengths of the captions, in words or in tokens.

    Attributes:
        mean: Mean.
        median: Half are no longer.
        p95: 95 % are no longer.
        longest: The longest.
        histogram: Captions by length, ascending.
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
        caption: As it is first written.
        num_images: Images that have it, whatever its letter case and punctuation.
    """

    caption: str
    num_images: int


@dataclass(frozen=True, slots=True)
class SplitLeak:
    """Images that are one and the same, or of one group, in more than one split.

    Attributes:
        kind: `exact` pixels, `near` pixels, `group`, or `given` twice by the data set itself.
        image_ids: The images.
        splits: The splits they lie in.
    """

    kind: LeakKind
    image_ids: tuple[str, ...]
    splits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DataCheck:
    """The findings.

    Attributes:
        source: Format and folder of the data set.
        num_images: Images with a caption and a file.
        num_captions: Their captions.
        splits: Images by split, `none` for those without.
        captions_per_image: Images by number of captions, ascending.
        widths: Smallest, median and largest width in pixels; empty when none was read.
        heights: The same of the heights.
        words: Length of the captions in words between blanks.
        tokens: Length in tokens of the model's tokenizer; `None` without one.
        max_caption_tokens: Tokens kept of a caption in training.
        num_cut: Captions longer than that; 0 without a tokenizer.
        vocabulary: Different words, letter case apart.
        skipped: Images kept out on reading: missing files, no caption.
        unreadable: Images whose file cannot be decoded.
        exact_duplicates: Groups of ids with equal pixels.
        near_duplicates: Groups of ids that look the same.
        leaks: The same image or group in two splits.
        empty_captions: Ids of images with an empty caption.
        placeholder_captions: Captions that describe nothing: `n/a`, a file name, a URL.
        common_captions: Captions that many images share, most frequent first.
        repeated_captions: Ids of images that have one caption twice.
        unspaced_script: The script without blanks between words that the captions are in; empty:
            none, or the words are cut apart.
        characters: Length of such captions in characters; `None` of others.
        notes: What was decided on reading.
        problems: The above in sentences, errors first.
        previews: Small JPEGs of images that the page shows, as data URIs by id; not in the JSON.
    """

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
    previews: dict[str, str] = field(default_factory=dict)

    @property
    def lengths(self) -> LengthStats:
        """Length of the captions in words, or in characters where no blanks stand between words."""
        return self.characters or self.words

    @property
    def num_errors(self) -> int:
        """Problems that make scores wrong or lose images."""
        return sum(problem.severity == "error" for problem in self.problems)

    def to_json(self) -> str:
        """The findings as indented JSON; keys are the attributes, without `previews`."""
        values = asdict(self)
        del values["previews"]
        # ASCII: ids may hold bytes of file names that are not UTF-8.
        return json.dumps(values, indent=2) + "\n"
