"""CHAIR: the share of the objects named in captions that are not in the image.

Objects are found with a list of words; those in an image are the objects that its references name,
and given objects (boxes). The figure is only as good as the list: see `coco_objects.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from captune.errors import CHECK_PATH, MetricError
from captune.metrics.counting.candidates import Candidates
from captune.metrics.results import Floats, MetricColumn, Statistic, divide_sums, mean_column
from captune.metrics.scores.coco_objects import ANIMALS, COCO_OBJECTS, NOT_OBJECTS, VEHICLES
from captune.storage import read_marked_text, refuse_irregular

Phrases = Mapping[tuple[str, ...], str]
"""Consecutive words -> the class they name; empty if they name none."""

_IRREGULAR = {
    **{"person": "people", "child": "children", "goose": "geese", "mouse": "mice"},
    **{"knife": "knives", "pocketknife": "pocketknives", "calf": "calves", "ox": "oxen"},
    **{"sheep": "sheep", "cattle": "cattle", "scissors": "scissors", "shears": "shears"},
    **{"luggage": "luggage", "aircraft": "aircraft", "broccoli": "broccoli"},
}


def score_hallucination(
    candidates: Candidates,
    *,
    objects: Mapping[str, Sequence[str]] | None = None,
    words: Sequence[Sequence[str]] | None = None,
) -> dict[str, MetricColumn]:
    """Return CHAIRi (share of named objects) and CHAIRs (share of captions), 0 (best) to 1.

    Args:
        candidates: M captions.
        objects: Image id -> words for objects known to be in it, such as the classes of its boxes;
            added to those that the references name.
        words: One row per class: its name, then other words for it; `None`: the classes of COCO.

    Source: Rohrbach et al. 2018, Object hallucination in image captioning, section 3.
    """
    rows = parse_object_words(COCO_OBJECTS) if words is None else words
    phrases = build_phrases(tuple(tuple(row) for row in rows))
    present = _find_present(candidates, phrases, objects=objects or {})
    parts = np.zeros((len(candidates.tokens), 2))
    for place, (image, tokens) in enumerate(
        zip(candidates.images.tolist(), candidates.tokens, strict=True)
    ):
        named = find_objects(tokens, phrases)
        parts[place] = [sum(name not in present[image] for name in named), len(named)]
    known = "references" if objects is None else "references+objects"
    listed = "captune-coco80" if words is None else f"given-{len(words)}"
    variant = f"words:{listed}|truth:{known}"
    return {
        "chair_i": MetricColumn(
            corpus=float(divide_sums(parts.sum(axis=0))),
            per_image=divide_sums(parts),
            statistic=Statistic(parts, divide_sums),
            variant=variant,
        ),
        "chair_s": mean_column(_any_of(parts), variant=variant),
    }


def find_objects(tokens: Sequence[str], phrases: Phrases) -> list[str]:
    """Return the class of each object that a caption names, in order; the longest phrase counts.

    Args:
        tokens: Words of the caption, lower case.
        phrases: Result of `build_phrases`.
    """
    longest = max(map(len, phrases), default=0)
    return [name for _, name in _locate_objects(tokens, phrases, longest=longest) if name]


def name_coco_objects(tokens: Sequence[str]) -> list[tuple[int, str]]:
    """Return each word that belongs to an object of COCO: its place and the object's class."""
    phrases, longest = _coco_phrases()
    named = _locate_objects(tokens, phrases, longest=longest)
    return [(place, name) for span, name in named if name for place in span]


@cache
def _coco_phrases() -> tuple[Phrases, int]:
    phrases = build_phrases(tuple(map(tuple, parse_object_words(COCO_OBJECTS))))
    return phrases, max(map(len, phrases))


def _locate_objects(
    tokens: Sequence[str], phrases: Phrases, *, longest: int
) -> list[tuple[range, str]]:
    """Return the places of each phrase with its class, which is empty if it names no object."""
    named, place = [], 0
    while place < len(tokens):
        for size in range(longest, 0, -1):
            name = phrases.get(tuple(tokens[place : place + size]))
            if name is not None:
                named.append((range(place, place + size), name))
                place += size
                break
        else:
            place += 1
    return named


@cache
def build_phrases(words: tuple[tuple[str, ...], ...]) -> Phrases:
    """Return a table of words in singular and plural, and of phrases that name no object.

    Args:
        words: One row per class: its name, then other words for it.
    """
    phrases: dict[tuple[str, ...], str] = {}
    for phrase in NOT_OBJECTS:
        phrases.update(dict.fromkeys(_both_numbers(phrase), ""))
    for row in words:
        name = row[0]
        for word in row:
            for form in _both_numbers(word):
                phrases[form] = name
                if name in ANIMALS:
                    phrases |= {("baby", *form): name, ("adult", *form): name}
                if name in VEHICLES:
                    phrases["passenger", *form] = name
    return phrases


def read_object_words(path: Path | str) -> list[list[str]]:
    """Read a list of words: one line per class, its name and other words, separated by commas.

    Raises:
        MetricError: The file cannot be read or is empty.
    """
    try:
        refuse_irregular(Path(path), MetricError, fix="give UTF-8 text")
        text = read_marked_text(Path(path))
    except OSError as error:
        raise MetricError(f"{path} cannot be read: {error.strerror}", fix=CHECK_PATH) from error
    except UnicodeDecodeError as error:
        raise MetricError(f"{path} is not UTF-8", fix="convert it to UTF-8") from error
    rows = parse_object_words(text)
    if not rows:
        raise MetricError(
            f"{path} contains no words", fix="give one line per class, such as: dog, puppy, pup"
        )
    return rows


def parse_object_words(text: str) -> list[list[str]]:
    """Return the lower-case words of each line, split at commas; empty lines are skipped."""
    rows = [
        [word.strip().lower() for word in line.split(",") if word.strip()]
        for line in text.splitlines()
    ]
    return [row for row in rows if row]


def _find_present(
    candidates: Candidates, phrases: Phrases, *, objects: Mapping[str, Sequence[str]]
) -> list[set[str]]:
    references = candidates.references
    present: list[set[str]] = [set() for _ in references.image_ids]
    for image, tokens in zip(references.image_of_caption.tolist(), references.tokens, strict=True):
        present[image].update(find_objects(tokens, phrases))
    for image_id, names in objects.items():
        if image_id in references.index:
            for name in names:
                present[references.index[image_id]].update(
                    find_objects(name.lower().split(), phrases)
                )
    return present


def _both_numbers(phrase: str) -> tuple[tuple[str, ...], ...]:
    *first, last = phrase.split()
    return (*first, last), (*first, _pluralise(last))


def _pluralise(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("man"):
        return word[:-3] + "men"
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


def _any_of(parts: Floats) -> Floats:
    return (parts[:, 0] > 0).astype(np.float64)
