"""`captune score` on bad input: a score, or an error that names the id; ids never shift."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from captune.cli.score import score
from captune.errors import CaptuneError, MetricError

METRICS = "all"
REFERENCES = '{"1": ["a red dog"], "2": ["two cats", "cats"]}'
PREDICTIONS = '{"1": "a red dog", "2": "two cats"}'


def run(folder: Path, references: str | bytes, predictions: str | bytes) -> dict[str, dict]:
    """Run the command and return the values per image, by id."""
    for name, text in (("references.json", references), ("predictions.json", predictions)):
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    app = typer.Typer()
    app.command()(score)
    files = ["--references", str(folder / "references.json")]
    files += ["--predictions", str(folder / "predictions.json")]
    written = [
        "--per-image",
        str(folder / "rows.jsonl"),
        "--json",
        str(folder / "scores.json"),
        "--force",
    ]
    result = CliRunner().invoke(app, [*files, *written, "--metrics", METRICS, "--resamples", "20"])
    if isinstance(result.exception, CaptuneError):
        raise result.exception
    assert result.exit_code == 0, result.output
    corpus = json.loads((folder / "scores.json").read_text())["metrics"]
    assert all(isinstance(value, float) and math.isfinite(value) for value in corpus.values())
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    return {row["image_id"]: row for row in rows}


@pytest.mark.filterwarnings("ignore:.* letters:UserWarning")
@pytest.mark.parametrize(
    "caption",
    [
        "",
        "... !? --",
        "\U0001f600 \U0001f468\u200d\U0001f469",
        "nul \x00 inside",
        "\u05db\u05dc\u05d1 \u0631\u062c\u0644",
        "a dog\nruns\r\n\u2028far\x0baway",
        "dog " * 10_000,
    ],
    ids=["empty", "punctuation", "emoji", "NUL", "right to left", "line breaks", "10,000 words"],
)
def test_an_odd_caption_is_scored_and_does_not_shift_others(tmp_path: Path, caption: str) -> None:
    rows = run(tmp_path, REFERENCES, json.dumps({"1": caption, "2": "two cats"}))
    assert rows["2"]["rouge_l"] == pytest.approx(1.0)
    assert rows["2"]["bleu_1"] == pytest.approx(1.0)
    odd = json.dumps({"1": [caption], "2": ["two cats", "cats"]})
    assert run(tmp_path, odd, PREDICTIONS)["2"]["rouge_l"] == pytest.approx(1.0)


def test_an_empty_prediction_scores_zero(tmp_path: Path) -> None:
    row = run(tmp_path, REFERENCES, '{"1": "", "2": "two cats"}')["1"]
    assert row["rouge_l"] == row["cider"] == row["sacrebleu"] == 0.0
    assert row["wer"] == 1.0


@pytest.mark.parametrize(
    ("references", "predictions", "message"),
    [
        ('{"1": ["a"], "2": []}', PREDICTIONS, "the references of image 2 are"),
        ('{"1": ["a"], "2": [5]}', PREDICTIONS, "the reference of image 2 is 5"),
        ('{"1": ["a"], "2": [NaN]}', PREDICTIONS, "the reference of image 2 is nan"),
        (REFERENCES, '{"1": "a", "2": null}', "the prediction of image 2 is None"),
        (REFERENCES, '{"1": "a", "2": NaN}', "the prediction of image 2 is nan"),
        (REFERENCES, '{"1": "a", "2": 7}', "the prediction of image 2 is 7"),
        (REFERENCES, '{"1": "a", "2": "b", "2": "c"}', "has 2 twice"),
        (
            REFERENCES,
            '[{"image_id": 1, "caption": "a"}, {"image_id": "1", "caption": "b"}]',
            "1 image id twice: 1",
        ),
        (REFERENCES, '[{"image_id": null, "caption": "a"}]', "an image id is None"),
        (REFERENCES, '[{"image_id": 1.5, "caption": "a"}]', "an image id is 1.5"),
        (REFERENCES, '[{"image_id": 1}]', "has no 'caption'"),
        (REFERENCES, '{"1": "a"}', r"1 without a prediction \(2\)"),
        (REFERENCES, '{"1": "a", "2": "b", "3": "c"}', r"1 without references \(3\)"),
        ("{}", PREDICTIONS, "there are no references"),
        (REFERENCES, "", "is not JSON"),
        (REFERENCES, b"\xff{}", "is not UTF-8 at byte 0"),
    ],
)
def test_input_that_cannot_be_scored_is_an_error_that_names_the_cause(
    tmp_path: Path, references: str, predictions: str | bytes, message: str
) -> None:
    with pytest.raises(MetricError, match=message) as caught:
        run(tmp_path, references, predictions)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "scores.json").exists()


def test_numbers_and_texts_are_the_same_ids(tmp_path: Path) -> None:
    rows = '[{"image_id": 2, "caption": "two cats"}, {"image_id": "1", "caption": "a red dog"}]'
    assert run(tmp_path, REFERENCES, rows) == run(tmp_path, REFERENCES, PREDICTIONS)


def test_a_byte_order_mark_is_not_part_of_the_text(tmp_path: Path) -> None:
    plain = run(tmp_path, REFERENCES, PREDICTIONS)
    marked = run(
        tmp_path, b"\xef\xbb\xbf" + REFERENCES.encode(), b"\xef\xbb\xbf" + PREDICTIONS.encode()
    )
    assert marked == plain
