"""The page of a bulk run: one HTML file that opens offline, in the report's design."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from markupsafe import Markup
from PIL import Image

from captune.bulk.page.watch import MAX_LENGTH, RunCounts, RunWatch, ShownFailure, ShownItem
from captune.data import DecodeMode, ImageDecoder, open_decoder
from captune.errors import ImageError
from captune.evaluation import (
    Fact,
    FrequentCaption,
    Scale,
    Series,
    describe_seconds,
    draw_histogram,
    draw_lines,
    format_share,
    make_thumbnail,
    write_page,
)
from captune.inference import AnyImage, UrlImage
from captune.text_safety import clean_text, shorten_words

_MAX_WORDS, _MAX_NAME = 80, 300
_SMALL_SIDE, _SIDE = 96, 320
_NUM_FREQUENT = 10


@dataclass(frozen=True, slots=True)
class ItemCard:
    """One captioned image on the page."""

    name: str
    thumbnail: str
    problem: str
    size: tuple[int, int]
    caption: str
    confidence: str
    reasons: tuple[str, ...] = ()
    references: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FailureRow:
    """One failed image on the page."""

    name: str
    thumbnail: str
    size: tuple[int, int]
    reason: str
    detail: str
    fix: str


@dataclass(frozen=True, slots=True)
class RunPage:
    """What the template reads."""

    title: str
    headline: str
    sentence: str
    counts: RunCounts
    warnings: tuple[str, ...]
    speed: Markup
    lengths: Markup
    frequent: tuple[FrequentCaption, ...]
    duplicates: str
    suspicious: tuple[ItemCard, ...]
    samples: tuple[ItemCard, ...]
    reasons: tuple[tuple[str, int, str], ...]
    failures: tuple[FailureRow, ...]
    facts: tuple[Fact, ...]


def write_run_page(
    path: Path,
    watch: RunWatch,
    *,
    title: str,
    counts: RunCounts,
    facts: Sequence[Fact] = (),
    decode: DecodeMode = "isolated",
) -> None:
    """Write the page of a run.

    Args:
        path: The file.
        watch: What was recorded of the run.
        title: Name of the run.
        counts: Number of images by outcome.
        facts: Model, outputs and other facts, shown at the end.
        decode: How images are decoded for their thumbnails.

    Raises:
        OutputError: The file cannot be written.
    """
    with open_decoder(decode, smallest=(_SIDE, _SIDE)) as decoder:
        cards = _Cards(decoder)
        page = RunPage(
            title=clean_text(title),
            headline=_headline(counts),
            sentence=_sentence(watch, counts),
            counts=counts,
            warnings=_warnings(watch),
            speed=_draw_speed(watch),
            lengths=_draw_lengths(watch),
            frequent=_frequent(watch),
            duplicates=_describe_duplicates(watch),
            suspicious=tuple(cards.make(*pair) for pair in watch.suspicious()),
            samples=tuple(cards.make(shown) for shown in watch.samples),
            reasons=tuple(
                (reason, number, format_share(number / max(1, counts.found)))
                for reason, number in watch.failure_counts.most_common()
            ),
            failures=tuple(cards.make_row(failure) for failure in watch.failures),
            facts=tuple(facts),
        )
    template = (files("captune.bulk.page") / "run.html").read_text(encoding="utf-8")
    write_page(path, "run.html", content=page, more_templates={"run.html": template})


@dataclass(frozen=True, slots=True)
class _Cards:
    """Builds cards with thumbnails, decoded again within the limits for untrusted images."""

    decoder: ImageDecoder

    def make(self, shown: ShownItem, reasons: tuple[str, ...] = ()) -> ItemCard:
        """Return the card of a captioned image."""
        thumbnail, size, problem = self._picture(shown.image, side=_SIDE)
        known = shown.mean_logprob > float("-inf")
        return ItemCard(
            name=_name(shown.name),
            thumbnail=thumbnail,
            problem=problem,
            size=size,
            caption=shorten_words(clean_text(shown.caption), _MAX_WORDS),
            confidence=f"{shown.mean_logprob:.2f}".replace("-", "−") if known else "",
            reasons=reasons,
        )

    def make_row(self, failure: ShownFailure) -> FailureRow:
        """Return the row of a failed image."""
        thumbnail, size, _ = self._picture(failure.image, side=_SMALL_SIDE)
        error = failure.error
        # The name is shown already.
        detail = error.where.removeprefix(failure.name).removeprefix(": ")
        texts = (clean_text(text)[:_MAX_NAME] for text in (error.what, detail, error.fix))
        return FailureRow(_name(failure.name), thumbnail, size, *texts)

    def _picture(self, image: AnyImage | None, *, side: int) -> tuple[str, tuple[int, int], str]:
        if image is None or isinstance(image, UrlImage | Image.Image):
            return "", (4, 3), "not read again"
        try:
            thumbnail, size = self.decoder.decode(image, lambda i: make_thumbnail(i, side=side))
        except ImageError as error:
            return "", (4, 3), error.what
        return thumbnail, size, ""


def _headline(counts: RunCounts) -> str:
    noun = "image" if counts.done == 1 else "images"
    if counts.failed:
        return f"{counts.done:,} {noun} captioned, {counts.failed:,} failed"
    return f"{counts.done:,} {noun} captioned"


def _sentence(watch: RunWatch, counts: RunCounts) -> str:
    seconds = watch.seconds()
    speed = f", {watch.num_captions / seconds:,.1f} images per second" if seconds > 1 else ""
    skipped = f"; {counts.skipped:,} had captions already" if counts.skipped else ""
    return f"{counts.found:,} found{skipped}. It took {describe_seconds(seconds)}{speed}."


def _warnings(watch: RunWatch) -> tuple[str, ...]:
    top = watch.frequent.most_common(1)
    if top and watch.num_captions >= 20 and top[0][1] > 0.2 * watch.num_captions:
        share = format_share(top[0][1] / watch.num_captions)
        text = shorten_words(clean_text(top[0][0]), 20)
        return (f"{share} of the captions are the same: “{text}”. Check them before use.",)
    return ()


def _draw_speed(watch: RunWatch) -> Markup:
    points = watch.throughput()
    unit, size = ("minute", 60.0) if watch.seconds() > 300 else ("second", 1.0)
    scaled = tuple((seconds / size, rate) for seconds, rate in points)
    return draw_lines(
        [Series("images per second", "validation", scaled)],
        title="Images per second during the run",
        x_label=f"{unit}s since the start",
        scale=Scale(readout=unit, from_zero=True),
    )


def _draw_lengths(watch: RunWatch) -> Markup:
    if not watch.num_captions:
        return Markup("")
    last = max(place for place, number in enumerate(watch.lengths) if number)
    shares = [number / watch.num_captions for number in watch.lengths[: last + 1]]
    return draw_histogram(
        {"captions": shares},
        kinds={"captions": "after"},
        title="Length of the captions in words",
        x_label=f"words per caption{' (the last bar: more)' if last == MAX_LENGTH else ''}",
    )


def _frequent(watch: RunWatch) -> tuple[FrequentCaption, ...]:
    total = max(1, watch.num_captions)
    return tuple(
        FrequentCaption(
            text=shorten_words(clean_text(text), 40) or "(empty)",
            count=count,
            share=format_share(count / total),
            percent=100 * count / total,
        )
        for text, count in watch.frequent.most_common(_NUM_FREQUENT)
    )


def _describe_duplicates(watch: RunWatch) -> str:
    different, total = watch.frequent.num_different(), watch.num_captions
    about = "about " if watch.frequent.uncertainty else ""
    return f"{about}{different:,} of {total:,} captions are distinct"


def _name(name: str) -> str:
    text = clean_text(name)
    return text if len(text) <= _MAX_NAME else f"…{text[-_MAX_NAME:]}"
