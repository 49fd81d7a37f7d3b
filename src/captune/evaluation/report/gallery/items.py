"""The scored images as a gallery lists them: captions with changed words, scores, mistakes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from captune.evaluation.compare import Evaluation
from captune.evaluation.report.gallery.word_diff import MarkedWord, mark_words
from captune.evaluation.report.words.mistakes import Mistake, find_mistakes
from captune.evaluation.scoring.score_files import relative_name
from captune.metrics import METRICS, is_lower_better
from captune.records import CaptionRecord, Prediction
from captune.text_safety import clean_text, shorten_words

_MAX_WORDS = 80
_MAX_REFERENCES = 8
_CHAIR = "chair_i"
_SIMILAR = ("clip_score", "pac_s")


@dataclass(frozen=True, slots=True)
class ShownCaption:
    """A system's caption of an image, ready to show.

    Attributes:
        system: Name of the system.
        words: The caption, with words marked that differ from the first system's caption.
        score: Value of the metric that images are sorted by; NaN without one.
        mistakes: What its words show to be wrong.
        length: Number of words of the whole caption.
    """

    system: str
    words: tuple[MarkedWord, ...]
    score: float
    mistakes: tuple[Mistake, ...] = ()
    length: int = 0


@dataclass(frozen=True, slots=True)
class GalleryItem:
    """One image of a gallery, without its picture.

    Attributes:
        place: Its position among the scored images.
        name: Readable file name.
        references: The human captions shown.
        hidden_references: Number of human captions not shown.
        captions: One per system.
        gain: Best score of the other systems minus that of the first, positive is better; NaN:
            unknown.
        quality: Score of the best of the compared systems, higher is better; NaN: unknown.
        similarity: How well the last system's caption fits its image according to a model
            (CLIPScore or PAC-S); NaN if neither was computed.
    """

    place: int
    name: str
    references: tuple[str, ...]
    hidden_references: int
    captions: tuple[ShownCaption, ...]
    gain: float
    quality: float
    similarity: float = math.nan

    @property
    def gain_text(self) -> str:
        """The gain with its sign and two decimals."""
        text = f"{self.gain:+.2f}"
        return "±0.00" if text[1:] == "0.00" else text.replace("-", "−")

    @property
    def groups(self) -> str:
        """The groups of mistakes by system, for filters: `colour@0 missing@1`."""
        return " ".join(
            f"{mistake.kind}@{place}"
            for place, caption in enumerate(self.captions)
            for mistake in caption.mistakes
        )


def list_items(
    evaluation: Evaluation,
    systems: Mapping[str, Sequence[Prediction]],
    *,
    records: Sequence[CaptionRecord],
    things: frozenset[str],
    quality_of: Sequence[str],
) -> list[GalleryItem]:
    """Return all scored images, in the order of the scores.

    Args:
        evaluation: The scores.
        systems: System -> its captions, the reference system first.
        records: The images with their human captions.
        things: Words for things, with which mistakes are found (`learn_things`).
        quality_of: Systems whose best score is an image's quality.
    """
    metric = evaluation.main_image_metric
    ids = next(iter(evaluation.scores.values())).image_ids
    sign = -1.0 if metric is not None and is_lower_better(metric) else 1.0
    # As in the paired test: images whose scores read the same are equal.
    shown = 0.5 * 10.0 ** -METRICS[metric].decimals if metric and metric in METRICS else 0.0
    values = {
        name: evaluation.scores[name].per_image[metric] if metric else [math.nan] * len(ids)
        for name in systems
    }
    captions = {name: {p.image_id: p.caption for p in own} for name, own in systems.items()}
    of_id = {record.image_id: record for record in records}
    first, *others = systems
    items = []
    for place, image_id in enumerate(ids):
        scores = {name: float(values[name][place]) for name in systems}
        gain = max((sign * scores[name] for name in others), default=math.nan)
        gain -= sign * scores[first]
        item = make_item(
            of_id[image_id],
            {name: captions[name][image_id] for name in systems},
            place=place,
            scores=scores,
            things=things,
            judged=(
                0.0 if abs(gain) < shown else gain,
                max(sign * scores[name] for name in quality_of),
            ),
        )
        items.append(item)
    return _add_model_findings(items, evaluation, list(systems))


def _add_model_findings(
    items: Sequence[GalleryItem], evaluation: Evaluation, systems: Sequence[str]
) -> list[GalleryItem]:
    """Add what other metrics know about images: named objects that are not there, similarity."""
    similar = next((name for name in _SIMILAR if name in evaluation.metrics), "")
    similarities = evaluation.scores[systems[-1]].per_image.get(similar, ())
    invented = [evaluation.scores[system].per_image.get(_CHAIR, ()) for system in systems]
    return [
        replace(
            item,
            similarity=float(similarities[item.place]) if similarities else math.nan,
            captions=tuple(
                _add_invented(caption, bool(own) and own[item.place] > 0)
                for caption, own in zip(item.captions, invented, strict=True)
            ),
        )
        for item in items
    ]


def _add_invented(caption: ShownCaption, has_invented: bool) -> ShownCaption:
    """Add CHAIR's finding, whose lists know more objects, unless the words show it already."""
    known = any(mistake.kind in ("object", "invented") for mistake in caption.mistakes)
    if known or not has_invented:
        return caption
    found = Mistake("invented", "an object that CHAIR does not find", "")
    return replace(caption, mistakes=(*caption.mistakes, found))


def make_item(
    record: CaptionRecord,
    captions: Mapping[str, str],
    *,
    place: int = 0,
    scores: Mapping[str, float] | None = None,
    things: frozenset[str] = frozenset(),
    judged: tuple[float, float] = (math.nan, math.nan),
) -> GalleryItem:
    """Build the gallery item of an image.

    Args:
        record: The image with its human captions.
        captions: System -> caption, the reference system first.
        place: See `GalleryItem`.
        scores: System -> its score on this image; systems may be missing.
        things: Words for things, with which mistakes are found.
        judged: Gain and quality, see `GalleryItem`.
    """
    references = tuple(shorten_words(clean_text(c), _MAX_WORDS) for c in record.captions)
    mistakes = {
        name: find_mistakes(text, record.captions, things=things) for name, text in captions.items()
    }
    return GalleryItem(
        place=place,
        name=clean_text(relative_name(record)),
        references=references[:_MAX_REFERENCES],
        hidden_references=max(0, len(references) - _MAX_REFERENCES),
        captions=_show_captions(captions, references, scores or {}, mistakes=mistakes),
        gain=judged[0],
        quality=judged[1],
    )


def _show_captions(
    captions: Mapping[str, str],
    references: Sequence[str],
    scores: Mapping[str, float],
    *,
    mistakes: Mapping[str, tuple[Mistake, ...]],
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
        score, length = scores.get(name, math.nan), len(captions[name].split())
        shown.append(ShownCaption(name, words, score, mistakes[name], length))
    return tuple(shown)
