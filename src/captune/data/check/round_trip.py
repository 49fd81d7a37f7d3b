"""Check that a tokenizer can write the captions: encode, decode and compare each.

A tokenizer for English turns Thai into unknown tokens only, and training on them shows no error.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from captune.data.check.findings import DataCheck, DataProblem
from captune.errors import DataError

_MAX_CAPTIONS = 20_000
_SOME, _NEARLY_ALL = 0.05, 0.9
_MOST_LETTERS = 0.7
_DROPPED_ASCII = {n: None for n in range(128) if unicodedata.category(chr(n))[0] in "ZC"}


@dataclass(frozen=True, slots=True)
class ReadBack:
    """One caption, encoded and decoded again.

    Attributes:
        text: The decoded caption, without special tokens.
        num_unknown: Unknown tokens in it.
    """

    text: str
    num_unknown: int


Reader = Callable[[Sequence[str]], list[ReadBack]]
"""Encodes captions and decodes them again; one result per caption."""


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """How well captions survive encoding and decoding.

    Attributes:
        num_captions: Number of captions checked.
        num_unknown: Captions with unknown tokens.
        num_changed: Captions without unknown tokens whose letters or digits change.
        kept: Share of all letters and digits that are kept, 0..1.
        example: The first caption that is not kept; empty: there is none.
        comes_back: The example after encoding and decoding.
    """

    num_captions: int
    num_unknown: int
    num_changed: int
    kept: float = 1.0
    example: str = ""
    comes_back: str = ""

    @property
    def share(self) -> float:
        """Share of captions that change or have unknown tokens, 0..1."""
        return (self.num_unknown + self.num_changed) / max(1, self.num_captions)

    @property
    def is_hopeless(self) -> bool:
        """Whether nearly all captions are lost, and not only a rare word or an accent each."""
        return self.share >= _NEARLY_ALL and self.kept < _MOST_LETTERS

    def describe(self) -> str:
        """Return a sentence on how many captions are lost, with an example."""
        return (
            f"the tokenizer changes or does not know {100 * self.share:.1f} % of the captions"
            f" ({self.num_unknown:,} with unknown tokens, {self.num_changed:,} changed, of"
            f" {self.num_captions:,}; {100 * self.kept:.0f} % of the letters are kept):"
            f" {self.example!r:.80} is decoded as {self.comes_back!r:.80}"
        )


def measure_round_trip(captions: Sequence[str], read_back: Reader) -> RoundTrip:
    """Encode and decode captions, at most 20,000, evenly spread.

    Letter case, white space and the width of characters may change.
    """
    step = -(-len(captions) // _MAX_CAPTIONS) or 1
    chosen = [caption for caption in captions[::step] if caption.strip()]
    unknown = changed = letters = kept = 0
    lost: tuple[str, str] = ("", "")
    for caption, back in zip(chosen, read_back(chosen), strict=True):
        before, after = _fold(caption), _fold(back.text)
        is_changed = before != after
        letters += len(before)
        kept += (Counter(before) & Counter(after)).total() if is_changed else len(before)
        unknown += back.num_unknown > 0
        changed += is_changed and not back.num_unknown
        if (back.num_unknown or is_changed) and not lost[0]:
            lost = (caption, back.text)
    share = kept / letters if letters else 1.0
    return RoundTrip(len(chosen), unknown, changed, share, *lost)


def add_round_trip(findings: DataCheck, trip: RoundTrip) -> DataCheck:
    """Return the findings with captions lost by the tokenizer: an error if nearly all are."""
    if trip.share < _SOME:
        return findings
    problem = DataProblem("error" if trip.is_hopeless else "warning", trip.describe(), _FIX)
    # Errors stay first.
    problems = sorted((*findings.problems, problem), key=lambda each: each.severity != "error")
    return replace(findings, problems=tuple(problems))


def refuse_lost_captions(trip: RoundTrip, *, where: str) -> None:
    """Refuse a tokenizer that can write almost none of the captions.

    Raises:
        DataError: At least 90 % of the captions change or are unknown, and most letters are lost.
    """
    if trip.is_hopeless:
        raise DataError(trip.describe(), where=where, fix=_FIX)


_FIX = (
    "use a model whose tokenizer knows the language, or train one on the captions: model.size with"
    " model.new_tokenizer.kind: bpe (captune init --train-tokenizer DATA --tokenizer-kind bpe)"
)


def _fold(text: str) -> str:
    """Return a text in one case and width, without white space and control characters."""
    if text.isascii():
        return text.casefold().translate(_DROPPED_ASCII)
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(
        character for character in folded if unicodedata.category(character)[0] not in "ZC"
    )
