"""A small invented run: six pictures, captions before and after, and its scores."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from captune.evaluation import Evaluation, ReportInputs, ScoringOptions, score_run
from captune.evaluation.report.training_log import parse_training_log
from captune.recipe import GenerateConfig
from captune.records import CaptionRecord, Prediction

NOUNS = ("dog", "cat", "bird", "boat", "tree", "car")


def draw_png(color: tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, format="PNG")
    return buffer.getvalue()


def predictions(captions: dict[str, str]) -> list[Prediction]:
    return [Prediction(image_id, text, -1.0, 5, "eos") for image_id, text in captions.items()]


@pytest.fixture
def records() -> list[CaptionRecord]:
    return [
        CaptionRecord(
            image_id=noun,
            image=draw_png((40 * place, 90, 200 - 30 * place)),
            captions=(f"a red {noun} sits on the grass", f"one {noun} outside"),
            split="test",
            file_name=f"images/{noun}.png",
        )
        for place, noun in enumerate(NOUNS)
    ]


@pytest.fixture
def before() -> list[Prediction]:
    return predictions(dict.fromkeys(NOUNS, "a man in a field"))


@pytest.fixture
def after() -> list[Prediction]:
    captions = {noun: f"a red {noun} sits on the grass" for noun in NOUNS}
    return predictions(captions | {"car": "a blue bus"})


@pytest.fixture
def options() -> ScoringOptions:
    return ScoringOptions(
        metrics=("bleu_1", "bleu_4", "cider", "wer", "distinct_captions", "mean_length"),
        split="test",
        generate=GenerateConfig(num_beams=5, max_new_tokens=20),
        bootstrap_samples=200,
        seed=7,
    )


@pytest.fixture
def evaluation(
    records: list[CaptionRecord],
    before: list[Prediction],
    after: list[Prediction],
    options: ScoringOptions,
) -> Evaluation:
    return score_run(records, before=before, after=after, training_records=records, options=options)


@pytest.fixture
def inputs(
    records: list[CaptionRecord],
    before: list[Prediction],
    after: list[Prediction],
    evaluation: Evaluation,
) -> ReportInputs:
    log = parse_training_log(
        [
            '{"step": 1, "epoch": 0.5, "loss": 4.0, "learning_rate": 0.001}',
            '{"step": 2, "epoch": 1.0, "loss": 2.0, "learning_rate": 0.0005}',
            '{"step": 2, "epoch": 1.0, "val_loss": 2.5, "val_cider": 0.75}',
        ]
    )
    return ReportInputs(
        title="small-run",
        description="Six made-up pictures.",
        records=records,
        before=before,
        after=after,
        evaluation=evaluation,
        generate=GenerateConfig(num_beams=5, max_new_tokens=20),
        seed=7,
        log=log,
    )
