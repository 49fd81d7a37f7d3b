"""Scripts of captions, for metrics that count words between spaces or only the letters a to z.

Chinese, Japanese, Thai, Lao, Khmer, Burmese and Tibetan are written without spaces between words:
a tokenizer that splits at spaces treats a caption as one word, and every score is 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_HAN = "\u2e80-\u2fdf\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_KANA = "\u3041-\u309f\u30a1-\u30ff\u31f0-\u31ff\uff66-\uff9d"
_OTHERS = (
    ("Thai", "\u0e01-\u0e4e"),
    ("Lao", "\u0e81-\u0edf"),
    ("Tibetan", "\u0f00-\u0fbc"),
    ("Burmese", "\u1000-\u109f"),
    ("Khmer", "\u1780-\u17dd"),
    ("Tai or Javanese", "\u1950-\u19df\u1a20-\u1aad\u1b00-\u1b4c\ua980-\ua9c0"),
)
_EAST_ASIAN = re.compile(f"[{_HAN}{_KANA}]")
_ANY_KANA = re.compile(f"[{_KANA}]")
_SOUTH_EAST = re.compile(f"[{''.join(span for _, span in _OTHERS)}]")
_NAMED = tuple((name, re.compile(f"[{span}]")) for name, span in _OTHERS)
_WORD = re.compile(r"[^\W_]+")
_PLAIN_WORD = re.compile("[A-Za-z0-9]+")

# Mean letters between two spaces: captions that were split into words have fewer, others more.
_MAX_EAST_ASIAN_WORD = 4.0
_MAX_OTHER_WORD = 8.0
_FEW = 0.1


@dataclass(frozen=True, slots=True)
class Scripts:
    """Scripts of a set of captions.

    Attributes:
        unspaced: Name of the script without spaces that at least a tenth of the captions use
            without spaces; empty: there is none.
        tokenizers: Tokenizers that split that script into words or characters, the simplest first.
        outside_a_z: Share of the words that have letters other than a to z, 0..1.
    """

    unspaced: str
    tokenizers: tuple[str, ...]
    outside_a_z: float


def measure_scripts(captions: Sequence[str]) -> Scripts:
    """Return the scripts of captions; ASCII captions cost almost no time."""
    odd = [caption for caption in captions if not caption.isascii()]
    if not odd:
        return Scripts("", (), 0.0)
    num_words, outside = _count_words(captions)
    share = outside / num_words if num_words else 0.0
    for pattern, longest in ((_EAST_ASIAN, _MAX_EAST_ASIAN_WORD), (_SOUTH_EAST, _MAX_OTHER_WORD)):
        written = [caption for caption in odd if _is_mostly(pattern, caption)]
        if len(written) >= _FEW * len(captions) and _mean_letters(pattern, written) > longest:
            name, tokenizers = _name_script("".join(written))
            return Scripts(name, tokenizers, share)
    return Scripts("", (), share)


def _count_words(captions: Iterable[str]) -> tuple[int, int]:
    """Return the number of words, and of words with letters other than a to z."""
    num_words = outside = 0
    for caption in captions:
        for word in _WORD.findall(caption):
            num_words += 1
            outside += _PLAIN_WORD.fullmatch(word) is None
    return num_words, outside


def _is_mostly(pattern: re.Pattern[str], caption: str) -> bool:
    letters = sum(map(str.isalpha, caption))
    return 2 * len(pattern.findall(caption)) >= max(1, letters)


def _mean_letters(pattern: re.Pattern[str], captions: Sequence[str]) -> float:
    """Return the mean number of the script's letters between two spaces, if there are any."""
    counts = [
        count for caption in captions for c in caption.split() if (count := len(pattern.findall(c)))
    ]
    return sum(counts) / max(1, len(counts))


def _name_script(text: str) -> tuple[str, tuple[str, ...]]:
    num_east = len(_EAST_ASIAN.findall(text))
    counts = [(len(pattern.findall(text)), name) for name, pattern in _NAMED]
    most, name = max(counts)
    if most > num_east:
        return name, ("char",)
    if len(_ANY_KANA.findall(text)) > _FEW * num_east:
        return "Japanese", ("char", "ja-mecab")
    return "Chinese", ("char", "zh")
