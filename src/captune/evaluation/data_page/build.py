"""The page of a data check: problems with their images, and the captions in figures.

It is one file that opens offline. Captions and file names are untrusted text: the template escapes
everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from markupsafe import Markup

from captune.data import CommonCaption, DataCheck, DataProblem, LengthStats, SkippedImage
from captune.evaluation.data_page.bars import draw_bars
from captune.evaluation.report.page import render_page
from captune.suggest import format_count

_MAX_ROWS = 200
_LEAKS = {
    "exact": "Equal images",
    "near": "Nearly equal images",
    "group": "Images of one group",
    "given": "Listed twice by the data set",
}


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """One image of a group; without a source, only its name is shown."""

    name: str
    source: str


@dataclass(frozen=True, slots=True)
class ImageGroup:
    """Images that belong together, with a line of text.

    Attributes:
        text: What they have in common; may be empty.
        images: Some of them; may be empty.
        more: Number of others.
    """

    text: str
    images: tuple[Thumbnail, ...]
    more: int = 0


@dataclass(frozen=True, slots=True)
class Findings:
    """A kind of finding with its images.

    Attributes:
        key: Its anchor.
        title: Its heading.
        groups: What is shown.
        more: Number of groups that are not shown.
    """

    key: str
    title: str
    groups: tuple[ImageGroup, ...]
    more: int = 0


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths of the captions in one unit."""

    unit: str
    sentence: str
    chart: Markup
    rows: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class CheckPage:
    """What the template reads."""

    title: str
    outcome: str
    headline: str
    sentence: str
    report: str
    rest: str
    figures: tuple[tuple[str, str], ...]
    problems: tuple[DataProblem, ...]
    sections: tuple[Findings, ...]
    lengths: tuple[Lengths, ...]
    per_image: str
    unusable: tuple[tuple[str, tuple[SkippedImage, ...], int], ...]
    notes: tuple[str, ...]


def render_data_check(findings: DataCheck, *, report: str = "") -> str:
    """Return the findings as an HTML page.

    Args:
        findings: Result of `check_data`.
        report: Address of the report of the run that the check belongs to; empty: no link.
    """
    templates = {name: _read(name) for name in ("data_check.html", "data_check.css")}
    page = _build(findings, report=report)
    return render_page("data_check.html", content=page, more_templates=templates)


def _build(findings: DataCheck, *, report: str) -> CheckPage:
    outcome, headline = _judge(findings)
    images = format_count(findings.num_images, "image")
    captions = format_count(findings.num_captions, "caption")
    return CheckPage(
        title=findings.source,
        outcome=outcome,
        headline=headline,
        sentence=f"{images} with {captions}.",
        report=report,
        rest="in data_check.json" if report else "by captune data check --json FILE",
        figures=tuple(_list_figures(findings)),
        problems=findings.problems,
        sections=tuple(section for section in _list_sections(findings) if section.groups),
        lengths=tuple(_list_lengths(findings)),
        per_image=", ".join(
            f"{images:,} with {captions}"
            for captions, images in findings.captions_per_image.items()
        ),
        unusable=tuple(
            (title, tuple(images[:_MAX_ROWS]), max(0, len(images) - _MAX_ROWS))
            for title, images in (
                ("Skipped images", findings.skipped),
                ("Unreadable images", findings.unreadable),
            )
            if images
        ),
        notes=findings.notes,
    )


def _judge(findings: DataCheck) -> tuple[str, str]:
    """Return the style of the verdict and its words."""
    if findings.num_errors:
        return "worse", "Fix this before training: images are lost or scores will be wrong."
    if findings.problems:
        return "doubtful", "Usable. Look at the warnings first."
    return "better", "No problems found."


def _list_figures(findings: DataCheck) -> Iterator[tuple[str, str]]:
    yield "images", f"{findings.num_images:,}"
    yield "captions", f"{findings.num_captions:,}"
    yield f"{_unit(findings)} per caption", f"{findings.lengths.mean:.1f}"
    yield "different words", f"{findings.vocabulary:,}"
    if findings.widths:
        yield "median pixels", f"{findings.widths[1]} × {findings.heights[1]}"
    for name, number in findings.splits.items():
        yield "without a split" if name == "none" else name, f"{number:,}"


def _list_sections(findings: DataCheck) -> Iterator[Findings]:
    leaks = [
        _group(findings, leak.image_ids, text=_describe_leak(leak.kind, leak.splits))
        for leak in findings.leaks[: findings.SHOWN_GROUPS]
    ]
    yield _section("leaks", "In two splits", leaks, total=len(findings.leaks))
    for key, title, groups in (
        ("duplicates", "Exact duplicates", findings.exact_duplicates),
        ("near", "Near duplicates", findings.near_duplicates),
    ):
        shown = [_group(findings, ids) for ids in groups[: findings.SHOWN_GROUPS]]
        yield _section(key, title, shown, total=len(groups))
    for key, title, captions in (
        ("placeholders", "Captions that describe nothing", findings.placeholder_captions),
        ("common", "Captions that several images share", findings.common_captions),
    ):
        shown = [_caption_group(findings, caption) for caption in captions[: findings.SHOWN_GROUPS]]
        yield _section(key, title, shown, total=len(captions))
    empty = findings.empty_captions
    shown = [_group(findings, empty)] if empty else []
    yield _section("empty", "Images with an empty caption", shown, total=len(shown))
    repeated = findings.repeated_captions
    shown = [
        _group(findings, [image_id], text=f"“{findings.repeats.get(image_id, '')}”")
        for image_id in repeated[: findings.SHOWN_GROUPS]
    ]
    title = "Images with the same caption twice"
    yield _section("repeated", title, shown, total=len(repeated))


def _section(key: str, title: str, groups: Sequence[ImageGroup], *, total: int) -> Findings:
    counted = f"{title} ({total:,})" if total > 1 else title
    return Findings(key, counted, tuple(groups), max(0, total - len(groups)))


def _group(findings: DataCheck, image_ids: Sequence[str], *, text: str = "") -> ImageGroup:
    """Return the first images of a group that have a preview, or their names if none has one."""
    first = [
        Thumbnail(name, findings.previews.get(name, "")) for name in image_ids[: findings.SHOWN]
    ]
    images = tuple(image for image in first if image.source) or tuple(first)
    return ImageGroup(text, images, len(image_ids) - len(images))


def _caption_group(findings: DataCheck, caption: CommonCaption) -> ImageGroup:
    examples = findings.examples.get(caption.caption, ())
    group = _group(findings, examples, text=f"“{caption.caption}”")
    return ImageGroup(group.text, group.images, max(0, caption.num_images - len(group.images)))


def _describe_leak(kind: str, splits: Sequence[str]) -> str:
    return f"{_LEAKS.get(kind, kind)}: {' and '.join(splits) or 'two splits'}"


def _list_lengths(findings: DataCheck) -> Iterator[Lengths]:
    yield _describe_lengths(_unit(findings), findings.lengths, limit=None)
    if findings.tokens is not None:
        yield _describe_lengths("tokens", findings.tokens, limit=findings.max_caption_tokens)


def _describe_lengths(unit: str, stats: LengthStats, *, limit: int | None) -> Lengths:
    sentence = (
        f"Mean {stats.mean:.1f}, median {stats.median}, 95 % at most {stats.p95}, longest"
        f" {stats.longest}."
    )
    if limit is not None:
        sentence += f" Captions over {limit} are truncated in training."
    bins = _join_bins(stats.histogram)
    return Lengths(unit, sentence, draw_bars(bins, unit=unit, limit=limit), _label_bins(bins))


def _join_bins(histogram: Mapping[int, int], *, most: int = 40) -> list[tuple[int, int, int]]:
    """Return (lowest, highest, captions) of at most `most` bins without gaps."""
    if not histogram:
        return []
    width = -(-(max(histogram) + 1) // most)
    counts: dict[int, int] = {}
    for length, number in histogram.items():
        counts[length // width] = counts.get(length // width, 0) + number
    first, last = min(counts), max(counts)
    return [(n * width, n * width + width - 1, counts.get(n, 0)) for n in range(first, last + 1)]


def _label_bins(bins: Sequence[tuple[int, int, int]]) -> tuple[tuple[str, int], ...]:
    return tuple(
        (str(low) if low == high else f"{low} to {high}", number)
        for low, high, number in bins
        if number
    )


def _unit(findings: DataCheck) -> str:
    return "characters" if findings.unspaced_script else "words"


def _read(name: str) -> str:
    return (files("captune.evaluation.data_page") / name).read_text(encoding="utf-8")
