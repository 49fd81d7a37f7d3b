"""The page of a data check: problems with their images, counts in words, links, hostile text."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import numpy as np
from PIL import Image

from captune.data import LoadedData, check_data
from captune.evaluation import render_data_check
from captune.evaluation.data_page.bars import draw_bars
from captune.records import CaptionRecord


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((80, 60), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


def record(name: str, seed: int, *captions: str) -> CaptionRecord:
    return CaptionRecord(name, picture(seed), captions, file_name=f"{name}.png")


def make_page(*records: CaptionRecord, report: str = "") -> str:
    return render_data_check(check_data(LoadedData(records)), report=report)


def text_of(page: str) -> str:
    body = re.sub(r"<(style|script)\b.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def test_problems_are_shown_with_thumbnails_of_their_images() -> None:
    page = make_page(
        record("a", 1, "a dog"),
        record("b", 1, "another dog"),
        record("c", 2, "n/a"),
        record("d", 3, "two", "A cat sits.", "a cat sits"),
        *(record(f"e{n}", 10 + n, "the same words") for n in range(6)),
    )
    text = text_of(page)
    for title in (
        "Exact duplicates",
        "Captions that describe nothing",
        "Captions that several images share",
        "Images with the same caption twice",
    ):
        assert title in text
    # a, b; c; four of e0 to e5; d.
    assert page.count('<img src="data:image/jpeg;base64,') == 8
    assert "and 2 more" in text
    assert "“the same words”" in text
    assert "“A cat sits.”" in text


def test_all_shown_images_have_a_picture_however_many_findings_there_are() -> None:
    pairs = [record(f"{side}{n}", n, f"pair {n}") for n in range(60) for side in "ab"]
    shared = [record(f"s{n}", 100 + n, f"shared by three {n % 20}") for n in range(60)]
    page = make_page(*pairs, *shared)
    thumbs = re.findall(r"<figure>(<img)?.*?</figure>", page[page.index('id="duplicates"') :])
    assert thumbs.count("<img") == 96 == page.count('<img src="data:image/jpeg;base64,')
    common = page[page.index('id="common"') : page.index('id="lengths"')]
    groups = common.split('<div class="panel">')[1:]
    assert len(groups) == 20
    assert all(group.count("<img") >= 2 for group in groups)
    assert "no picture" not in page


def test_pairs_get_both_pictures_before_captions_get_a_third() -> None:
    pairs = [record(f"{side}{n}", n, f"pair {n}") for n in range(20) for side in "ab"]
    shared = [record(f"s{n}", 100 + n, f"shared {n % 20}") for n in range(80)]
    findings = check_data(LoadedData((*shared, *pairs)))
    assert {f"{side}{n}" for n in range(20) for side in "ab"} <= findings.previews.keys()
    shown = [sum(f"s{n + 20 * i}" in findings.previews for i in range(4)) for n in range(20)]
    assert min(shown) >= 2
    assert len(findings.previews) == 96


def test_examples_of_a_caption_are_images_that_can_be_read() -> None:
    broken = [CaptionRecord(f"bad{n}", b"\x89PNG junk", ("the same words",)) for n in range(4)]
    good = [record(f"e{n}", 10 + n, "the same words") for n in range(4)]
    findings = check_data(LoadedData((*broken, *good)))
    assert findings.examples["the same words"] == ("e0", "e1", "e2", "e3")
    page = render_data_check(findings)
    assert "and 4 more" in text_of(page)
    hopeless = render_data_check(check_data(LoadedData((*broken, record("a", 1, "a dog")))))
    assert "“the same words” 4 images" in text_of(hopeless)


def test_a_clean_set_has_no_problem() -> None:
    page = make_page(*(record(str(n), n, f"caption number {n}") for n in range(8)))
    assert "No problems found." in page
    assert 'class="verdict plain better"' in page
    assert '<section id="problems">' not in page


def test_the_histogram_has_its_counts_above_the_bars_and_in_a_table() -> None:
    page = make_page(
        record("a", 1, "one"),
        record("b", 2, "two words"),
        record("c", 3, "also two"),
    )
    rows = re.findall(r'<tr><th scope="row">(\d+)</th><td>(\d+)</td></tr>', page)
    assert rows == [("1", "1"), ("2", "2")]
    labels = re.findall(r'text-anchor="middle">(\d+)</text>', page)
    assert labels == ["1", "1", "2", "2"]


def test_bars_above_the_limit_are_marked_and_ticks_are_round() -> None:
    chart = draw_bars([(1, 1, 90), (2, 2, 0), (3, 3, 7)], unit="tokens", limit=2)
    assert chart.count('class="bar cut"') == 1
    ticks = re.findall(r'text-anchor="end">(\d+)</text>', chart)
    assert ticks == ["0", "50", "100"]
    assert draw_bars([], unit="tokens", limit=None) == ""


def test_the_page_of_a_run_links_to_its_report() -> None:
    page = make_page(record("a", 1, "a dog"), report="report.html")
    assert page.count('href="report.html"') == 2
    assert "report.html" not in make_page(record("a", 1, "a dog"))


def test_hostile_captions_and_names_stay_text() -> None:
    attack = "<script>alert(1)</script>"
    records = tuple(
        replace(record(f"<b>{n}\u202e\x1b[2J", 20 + n, f"{attack}\x1b]0;"), file_name=attack)
        for n in range(4)
    )
    page = make_page(*records)
    assert attack not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<b>0" not in page
    assert not {"\x1b", "\u202e"} & set(page)
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_unreadable_images_are_listed_with_their_reason() -> None:
    page = make_page(record("a", 1, "a dog"), CaptionRecord("bad", b"\x89PNG junk", ("a cat",)))
    text = text_of(page)
    assert "Unreadable images" in text
    assert "Fix this before training" in text
    assert 'class="verdict plain worse"' in page


def test_findings_that_the_page_omits_are_where_its_note_says() -> None:
    records = [record(f"{side}{n}", n, f"pair {n}") for n in range(30) for side in "ab"]
    assert "6 more are listed by captune data check --json FILE." in text_of(make_page(*records))
    in_run = text_of(make_page(*records, report="report.html"))
    assert "6 more are listed in data_check.json." in in_run
