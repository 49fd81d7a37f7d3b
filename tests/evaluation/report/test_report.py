"""report.html: one complete, honest file that is safe against hostile captions."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from captune.data import SkippedImage
from captune.evaluation import (
    ComparisonInputs,
    Fact,
    ReportInputs,
    ScoringOptions,
    compare_systems,
    score_run,
    write_comparison,
    write_report,
)
from captune.evaluation.report.build import build_report
from captune.records import CaptionRecord, Prediction
from support.report_pages import make_inputs

HOSTILE = "</script><script>alert(1)</script> ]]> \x00 \u202egnp.exe \ud800 <img src=x onerror=a()>"
VOID = {"col", "meta", "link", "br", "img", "input", "circle", "line", "rect", "path", "polyline"}


class Page(HTMLParser):
    """Collects elements and text, and asserts that tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def render(inputs: ReportInputs, folder: Path) -> str:
    write_report(inputs, folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_report_shows_verdict_scores_images_captions_and_run(
    inputs: ReportInputs, tmp_path: Path
) -> None:
    facts = [Fact("Command", "captune run small", is_code=True), Fact("Hardware", "cpu, 2 cores")]
    skipped = [SkippedImage("9", "images/bad.png", "truncated", "cut")]
    page = Page(
        render(replace(inputs, facts=facts, skipped=skipped, extra={"truth_rate": 0.5}), tmp_path)
    )
    for expected in (
        "Training made the captions better.",
        "Only 6 images were scored",
        "CIDEr",
        "True captions 50.0 %",
        "a red dog sits on the grass",
        "one dog outside",
        "a man in a field",
        "images/dog.png",
        "captune run small",
        "cpu, 2 cores",
        "num_beams 5",
        "1 image skipped",
        "images/bad.png truncated cut",
        "cider|variant:cider-d",
        "split:test|refs:2|images:6",
    ):
        assert expected in page.text
    # Settings of sampling have no effect on beams.
    assert "temperature" not in page.text
    assert len([a for a in page.all("article") if "card" in str(a["class"])]) == 6


def test_nothing_is_fetched_and_only_the_script_of_the_page_runs(
    inputs: ReportInputs, tmp_path: Path
) -> None:
    text = render(inputs, tmp_path)
    page = Page(text)
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in page.all("img"))
    links = [a.get("href") for a in page.all("a")] + [a.get("href") for a in page.all("link")]
    assert all(str(link).startswith(("#", "data:,")) for link in links)
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", text)
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
    assert script
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert f"script-src 'sha256-{digest}'" in str(policy)
    assert str(policy).startswith("default-src 'none'")


def test_every_image_has_an_alternative_text_and_every_link_a_target(
    inputs: ReportInputs, tmp_path: Path
) -> None:
    page = Page(render(inputs, tmp_path))
    assert page.all("img")
    assert all(image["alt"] for image in page.all("img"))
    ids = {attributes.get("id") for _, attributes in page.elements}
    assert {str(a["href"])[1:] for a in page.all("a")} <= ids
    assert page.all("html")[0]["lang"] == "en"


def test_charts_have_titles_in_words(inputs: ReportInputs, tmp_path: Path) -> None:
    text = render(inputs, tmp_path)
    assert "<title>Training and validation loss by step; lowest validation loss 2.5</title>" in text
    assert "CIDEr of validation captions by step; best 0.750 at step 2" in text
    assert text.count('class="chart"') == 5


def test_hostile_text_is_shown_but_never_executed(
    inputs: ReportInputs, options: ScoringOptions, tmp_path: Path
) -> None:
    records = [
        replace(record, captions=(HOSTILE, *record.captions), file_name=HOSTILE)
        for record in inputs.records
    ]
    after = [Prediction(r.image_id, HOSTILE, -1.0, 9, "eos") for r in records]
    evaluation = score_run(
        records, before=inputs.before, after=after, training_records=records, options=options
    )
    hostile = replace(
        inputs,
        title=HOSTILE,
        description=HOSTILE,
        records=records,
        after=after,
        evaluation=evaluation,
        facts=[Fact(HOSTILE, HOSTILE)],
        skipped=[SkippedImage("1", HOSTILE, HOSTILE, HOSTILE)],
    )
    text = render(hostile, tmp_path)
    page = Page(text)
    assert len(page.all("script")) == 1
    assert all("onerror" not in attributes for _, attributes in page.elements)
    assert "\x00" not in text
    assert "\u202e" not in text
    assert "<script>alert(1)</script> ]]> gnp.exe \ufffd" in page.text


def test_a_model_without_a_baseline_is_reported_alone(
    inputs: ReportInputs, options: ScoringOptions, tmp_path: Path
) -> None:
    evaluation = score_run(
        inputs.records, before=None, after=inputs.after, training_records=(), options=options
    )
    alone = replace(inputs, before=None, evaluation=evaluation, occasion="evaluation")
    page = Page(render(alone, tmp_path))
    assert "The model beats a constant caption." in page.text
    assert "Images won" not in page.text
    assert "Baseline" not in page.text
    assert "the one that best fits the references themselves" in page.text


def test_without_a_log_there_is_no_training_section(inputs: ReportInputs, tmp_path: Path) -> None:
    page = Page(render(replace(inputs, log=type(inputs.log)({})), tmp_path))
    assert "optimizer step" not in page.text
    assert "training" not in {attributes.get("id") for _, attributes in page.elements}


@pytest.mark.parametrize(
    "metrics", [("distinct_captions",), ("wer",), ("vocabulary_size", "cider")]
)
def test_a_report_works_with_any_choice_of_metrics(
    inputs: ReportInputs, options: ScoringOptions, tmp_path: Path, metrics: tuple[str, ...]
) -> None:
    evaluation = score_run(
        inputs.records,
        before=inputs.before,
        after=inputs.after,
        training_records=(),
        options=replace(options, metrics=metrics),
    )
    assert "images/dog.png" in render(replace(inputs, evaluation=evaluation), tmp_path)


def test_a_lower_error_rate_is_a_gain(inputs: ReportInputs, options: ScoringOptions) -> None:
    evaluation = score_run(
        inputs.records,
        before=inputs.before,
        after=inputs.after,
        training_records=(),
        options=replace(options, metrics=("wer",)),
    )
    report = build_report(replace(inputs, evaluation=evaluation))
    gains = {card.name: card.item.gain for card in report.cards}
    assert gains["images/dog.png"] > 0
    assert gains["images/car.png"] == 0
    assert report.main_change is not None
    assert (report.main_change.wins, report.main_change.losses) == (5, 0)
    assert report.main_change.delta.startswith("−")


def test_the_numbers_of_better_equal_and_worse_images_are_those_that_the_gallery_finds(
    inputs: ReportInputs, options: ScoringOptions
) -> None:
    evaluation = score_run(
        inputs.records,
        before=inputs.before,
        after=inputs.after,
        training_records=(),
        options=replace(options, metrics=("bleu_4",)),
    )
    # Without a match, BLEU-4 is about 1e-9, and never the same for two captions.
    of_car = [evaluation.scores[name].per_image["bleu_4"][5] for name in ("before", "after")]
    assert of_car[0] != of_car[1]
    report = build_report(replace(inputs, evaluation=evaluation))
    gains = [card.item.gain for card in report.cards]
    assert report.main_change is not None
    assert sum(gain > 0 for gain in gains) == report.main_change.wins == 5
    assert sum(gain == 0 for gain in gains) == report.main_change.ties == 1
    assert sum(gain < 0 for gain in gains) == report.main_change.losses == 0


def test_the_report_is_identical_when_written_again(inputs: ReportInputs, tmp_path: Path) -> None:
    assert render(inputs, tmp_path / "a") == render(inputs, tmp_path / "b")


@pytest.mark.slow
def test_many_large_images_stay_under_eight_megabytes(
    inputs: ReportInputs, options: ScoringOptions, tmp_path: Path
) -> None:
    import io

    import numpy as np
    from PIL import Image

    # Noise is the worst case for JPEG.
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, format="PNG")
    records = [CaptionRecord(str(n), buffer.getvalue(), (f"noise {n}",)) for n in range(90)]
    after = [Prediction(r.image_id, f"noise {r.image_id}", -1.0, 3, "eos") for r in records]
    evaluation = score_run(records, before=None, after=after, training_records=(), options=options)
    big = replace(inputs, records=records, before=None, after=after, evaluation=evaluation)
    text = render(big, tmp_path)
    assert text.count("<article") == 60
    assert len(text) < 8_000_000
    # Without a baseline, nothing is gained or lost.
    assert ": the worst captions and others drawn at random." in text
    assert "the biggest gains" not in text


def test_the_comparison_shows_every_model_and_every_pair(
    inputs: ReportInputs, options: ScoringOptions, tmp_path: Path
) -> None:
    systems = {"old <b>": inputs.before or (), "new": inputs.after, "new again": inputs.after}
    evaluation = compare_systems(inputs.records, systems, options=options)
    comparison = ComparisonInputs(
        records=inputs.records,
        systems=systems,
        evaluation=evaluation,
        generate=inputs.generate,
        seed=1,
    )
    write_comparison(comparison, tmp_path / "c.html")
    page = Page((tmp_path / "c.html").read_text())
    assert "new and new again cannot be told apart." in page.text
    assert "old <b>" in page.text
    assert all("class" in b for b in page.all("b"))
    assert "old <b> gives every image the caption “a man in a field”" in page.text
    assert "not corrected for the number of pairs, 3" in page.text
    assert len(page.all("article")) == 6


def test_the_comparison_shows_requested_images_with_all_captions(
    inputs: ReportInputs, options: ScoringOptions, tmp_path: Path
) -> None:
    chosen = CaptionRecord("chosen:x", inputs.records[0].image, file_name="mine.png")
    own = Prediction("chosen:x", "a holiday picture", -1.0, 4, "eos")
    systems = {"a": [*inputs.after, own], "b": list(inputs.before or ())}
    evaluation = compare_systems(inputs.records, systems, options=options)
    assert evaluation.num_images == 6
    comparison = ComparisonInputs(
        inputs.records, systems, evaluation, inputs.generate, seed=1, chosen=[chosen]
    )
    write_comparison(comparison, tmp_path / "c.html")
    text = (tmp_path / "c.html").read_text()
    page = Page(text)
    assert len(page.all("article")) == 1
    # The scored images are not on the page, so no number leads to them.
    assert 'id="mistakes"' in text
    assert 'data-filter="' not in text
    assert "mine.png" in page.text
    assert "a holiday picture" in page.text
    assert "(empty caption)" in page.text


def test_the_report_of_a_run_links_to_the_check_of_its_data(
    inputs: ReportInputs, tmp_path: Path
) -> None:
    for name, address in (("with", "data_check.html"), ("without", "")):
        path = tmp_path / f"{name}.html"
        write_report(replace(inputs, data_check=address), path)
        assert ('href="data_check.html"' in path.read_text()) == bool(address)


@pytest.mark.parametrize("has_baseline", [True, False])
def test_the_three_images_at_the_top_are_in_the_gallery_of_the_file(has_baseline: bool) -> None:
    run = make_inputs()
    if not has_baseline:
        scores = {n: s for n, s in run.evaluation.scores.items() if n != "before"}
        tests = {p: t for p, t in run.evaluation.tests.items() if p.against != "before"}
        own = replace(run.evaluation, scores=scores, tests=tests)
        run = replace(run, before=None, evaluation=own)
    page = build_report(replace(run, gallery_size=12))
    assert len(page.evidence.heroes) == 3
    heroes = {hero.card.item.place for hero in page.evidence.heroes}
    assert heroes <= {card.item.place for card in page.cards}


def test_a_report_without_metrics_of_references_has_no_empty_table(
    inputs: ReportInputs, options: ScoringOptions, tmp_path: Path
) -> None:
    own = replace(options, metrics=("distinct_captions", "mean_length"))
    evaluation = score_run(
        inputs.records,
        before=inputs.before,
        after=inputs.after,
        training_records=inputs.records,
        options=own,
    )
    text = render(replace(inputs, evaluation=evaluation), tmp_path)
    tables = re.findall(r"<table.*?</table>", text, re.DOTALL)
    assert tables
    assert all(re.search(r"<tbody>\s*<tr", table) for table in tables)


def test_one_scored_image_is_not_called_images(
    inputs: ReportInputs, options: ScoringOptions, tmp_path: Path
) -> None:
    (record, *_), (before, *_), (after, *_) = inputs.records, inputs.before or (), inputs.after
    # CIDEr of one image warns.
    own = replace(options, metrics=("bleu_1", "wer", "mean_length"))
    evaluation = score_run(
        [record], before=[before], after=[after], training_records=(), options=own
    )
    one = replace(inputs, records=[record], before=[before], after=[after], evaluation=evaluation)
    text = Page(render(one, tmp_path)).text
    assert "Captions generated for 1 test image," in text
    assert "1 images" not in text
    assert "1 test images" not in text
