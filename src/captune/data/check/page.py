"""The findings of a data check as one HTML page that works offline, without scripts.

Captions and file names are untrusted text: everything is escaped, and `<bdi>` keeps right-to-left
overrides inside their own cell.
"""

from __future__ import annotations

from collections.abc import Sequence

from captune.data.check.findings import DataCheck, LengthStats
from captune.data.dataset import SkippedImage
from captune.suggest import format_count
from captune.text_safety import escape_markup

_MOST_ROWS = 200
_MOST_GROUPS = 24
_MOST_BARS = 60

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --bar: #4a7dbd; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.2rem; border-bottom: 1px solid var(--line); }
.from { opacity: .7; margin-top: .2rem; overflow-wrap: anywhere; }
.verdict { font-size: 1.15rem; padding: .7rem 1rem; border-radius: .5rem; background: var(--soft);
  border-left: .4rem solid #2e9e5b; }
.verdict.error { border-color: #c8372d; } .verdict.warning { border-color: #d9911a; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .8rem; }
.card { background: var(--soft); border-radius: .5rem; padding: .7rem 1rem; }
.card b { display: block; font-size: 1.5rem; }
.problem { margin: .5rem 0; padding: .5rem .8rem; border-left: .3rem solid #d9911a;
  background: var(--soft); }
.problem.error { border-color: #c8372d; } .problem small { display: block; opacity: .8; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; vertical-align: top; }
td:first-child { min-width: 12rem; } .reason { white-space: nowrap; overflow-wrap: normal; }
.group { display: flex; flex-wrap: wrap; gap: .6rem; margin: .6rem 0; padding: .6rem;
  background: var(--soft); border-radius: .5rem; }
figure { margin: 0; width: 7.5rem; font-size: .75rem; overflow-wrap: anywhere; }
figure img { display: block; max-width: 7rem; max-height: 7rem; border-radius: .3rem; }
svg text { font: 11px system-ui, sans-serif; fill: currentColor; } svg rect { fill: var(--bar); }
svg rect.cut { fill: #d9911a; }
"""


def render_check(findings: DataCheck) -> str:
    """Return the findings as an HTML page."""
    sections = (
        _render_verdict(findings),
        _render_cards(findings),
        _render_problems(findings),
        _render_lengths(findings),
        _render_skipped("Images that were skipped", findings.skipped),
        _render_skipped("Images that cannot be read", findings.unreadable),
        _render_leaks(findings),
        _render_groups("Exact duplicates", findings.exact_duplicates, findings=findings),
        _render_groups("Near duplicates", findings.near_duplicates, findings=findings),
        _render_captions(findings),
        _render_notes(findings),
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Data check</title><style>{_STYLE}</style></head><body>\n"
        f"<h1>Data check</h1><p class='from'>{_text(findings.source)}</p>\n"
        + "\n".join(section for section in sections if section)
        + "\n</body></html>\n"
    )


def _render_verdict(findings: DataCheck) -> str:
    warnings = len(findings.problems) - findings.num_errors
    if findings.num_errors:
        kind, words = "error", "Fix this before training: images are lost or scores will be wrong."
    elif warnings:
        kind, words = "warning", "Usable. Look at the warnings first."
    else:
        kind, words = "", "No problems found."
    return f"<p class='verdict {kind}'>{words}</p>"


def _render_cards(findings: DataCheck) -> str:
    cards = [
        ("images", f"{findings.num_images:,}"),
        ("captions", f"{findings.num_captions:,}"),
        (f"{_unit(findings)} per caption", f"{findings.lengths.mean:.1f}"),
        ("different words", f"{findings.vocabulary:,}"),
    ]
    if findings.widths:
        cards.append(("median pixels", f"{findings.widths[1]} x {findings.heights[1]}"))
    cards += [
        ("without a split" if name == "none" else name, f"{number:,}")
        for name, number in findings.splits.items()
    ]
    inner = "".join(f"<div class='card'><b>{_text(n)}</b>{_text(t)}</div>" for t, n in cards)
    return f"<div class='cards'>{inner}</div>"


def _render_problems(findings: DataCheck) -> str:
    if not findings.problems:
        return ""
    inner = "".join(
        f"<div class='problem {problem.severity}'>{_text(problem.text)}"
        + (f"<small>{_text(problem.fix)}</small>" if problem.fix else "")
        + "</div>"
        for problem in findings.problems
    )
    return f"<h2>Problems</h2>{inner}"


def _render_lengths(findings: DataCheck) -> str:
    page = "<h2>Length of the captions</h2>"
    page += _render_length(_unit(findings), findings.lengths, limit=None)
    if findings.tokens is not None:
        page += _render_length("tokens", findings.tokens, limit=findings.max_caption_tokens)
    per_image = ", ".join(
        f"{images:,} with {captions}" for captions, images in findings.captions_per_image.items()
    )
    return page + f"<p>Captions per image: {per_image}.</p>"


def _unit(findings: DataCheck) -> str:
    return "characters" if findings.unspaced_script else "words"


def _render_length(unit: str, stats: LengthStats, *, limit: int | None) -> str:
    line = (
        f"<p><b>{unit}</b>: mean {stats.mean:.1f}, median {stats.median},"
        f" 95 % at most {stats.p95}, longest {stats.longest}"
        + (f"; captions over {limit} are truncated</p>" if limit is not None else "</p>")
    )
    return line + _render_bars(stats.histogram, limit=limit)


def _render_bars(histogram: dict[int, int], *, limit: int | None) -> str:
    if not histogram:
        return ""
    width = -(-(max(histogram) + 1) // _MOST_BARS)
    bars: dict[int, int] = {}
    for length, number in histogram.items():
        bars[length // width] = bars.get(length // width, 0) + number
    tallest, count = max(bars.values()), max(bars) + 1
    step = 900 / count
    shapes = []
    for bar in range(count):
        number = bars.get(bar, 0)
        height = 120 * number / tallest
        low, high = bar * width, bar * width + width - 1
        label = str(low) if width == 1 else f"{low}-{high}"
        cut = " class='cut'" if limit is not None and low > limit else ""
        shapes.append(
            f"<rect{cut} x='{bar * step:.1f}' y='{125 - height:.1f}' width='{step * 0.86:.1f}'"
            f" height='{height:.1f}'><title>{label}:"
            f" {format_count(number, 'caption')}</title></rect>"
        )
        if bar % max(1, count // 15) == 0:
            shapes.append(f"<text x='{bar * step:.1f}' y='140'>{low}</text>")
    return f"<svg viewBox='0 0 900 145' width='100%' role='img'>{''.join(shapes)}</svg>"


def _render_skipped(title: str, images: Sequence[SkippedImage]) -> str:
    if not images:
        return ""
    rows = "".join(
        f"<tr><td>{_text(image.file or image.image_id)}</td>"
        f"<td class='reason'>{_text(image.reason)}</td>"
        f"<td>{_text(image.detail)}</td></tr>"
        for image in images[:_MOST_ROWS]
    )
    head = "<tr><th>file</th><th>reason</th><th></th></tr>"
    return f"<h2>{title} ({len(images):,})</h2><table>{head}{rows}</table>" + _more(
        len(images) - _MOST_ROWS
    )


def _render_leaks(findings: DataCheck) -> str:
    if not findings.leaks:
        return ""
    shown = "".join(
        f"<p>{leak.kind}: {_text(', '.join(leak.splits) or 'two splits')}</p>"
        + _figures(leak.image_ids, findings=findings)
        for leak in findings.leaks[:_MOST_GROUPS]
    )
    return f"<h2>In two splits ({len(findings.leaks):,})</h2>{shown}" + _more(
        len(findings.leaks) - _MOST_GROUPS
    )


def _render_groups(title: str, groups: Sequence[tuple[str, ...]], *, findings: DataCheck) -> str:
    if not groups:
        return ""
    shown = "".join(_figures(group, findings=findings) for group in groups[:_MOST_GROUPS])
    return f"<h2>{title} ({len(groups):,})</h2>{shown}" + _more(len(groups) - _MOST_GROUPS)


def _figures(image_ids: Sequence[str], *, findings: DataCheck) -> str:
    figures = []
    for image_id in image_ids[:4]:
        source = findings.previews.get(image_id, "")
        picture = f"<img alt='' src='{source}'>" if source else ""
        figures.append(f"<figure>{picture}{_text(image_id)}</figure>")
    more = f"<figure>and {len(image_ids) - 4:,} more</figure>" if len(image_ids) > 4 else ""
    return f"<div class='group'>{''.join(figures)}{more}</div>"


def _render_captions(findings: DataCheck) -> str:
    page = ""
    for title, captions in (
        ("Captions that describe nothing", findings.placeholder_captions),
        ("Captions that several images share", findings.common_captions),
    ):
        if captions:
            rows = "".join(
                f"<tr><td>{_text(item.caption)}</td><td>{item.num_images:,}</td></tr>"
                for item in captions[:_MOST_ROWS]
            )
            page += f"<h2>{title}</h2><table><tr><th>caption</th><th>images</th></tr>{rows}</table>"
    return page


def _render_notes(findings: DataCheck) -> str:
    if not findings.notes:
        return ""
    inner = "".join(f"<li>{_text(note)}</li>" for note in findings.notes)
    return f"<h2>Notes</h2><ul>{inner}</ul>"


def _more(number: int) -> str:
    return f"<p>... and {number:,} more; all are in the JSON.</p>" if number > 0 else ""


def _text(text: str) -> str:
    return f"<bdi>{escape_markup(text)}</bdi>"
