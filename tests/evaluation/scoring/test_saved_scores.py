"""Scores written by one stage and read by another without scoring again."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from captune.evaluation import AFTER, Evaluation, RunToScore, ScoringOptions
from captune.evaluation.scoring.saved_scores import PER_IMAGE, SCORES, load_scores, save_scores
from captune.records import CaptionRecord, Prediction

Change = Callable[[RunToScore], RunToScore]


@pytest.fixture
def run(
    records: list[CaptionRecord],
    before: list[Prediction],
    after: list[Prediction],
    options: ScoringOptions,
) -> RunToScore:
    return RunToScore(records, before, after, records, options)


@pytest.fixture
def folder(tmp_path: Path, run: RunToScore) -> Path:
    save_scores(tmp_path, run.score(), run=run, extra={"truth_rate": 0.5})
    return tmp_path


def test_loaded_scores_are_exact_to_the_last_digit(folder: Path, run: RunToScore) -> None:
    assert load_scores(folder, run) == run.score()


def test_a_run_without_a_baseline_and_with_a_missing_prediction_is_loaded(
    tmp_path: Path, run: RunToScore
) -> None:
    smaller = replace(run, before=None, after=run.after[1:])
    scored = smaller.score()
    assert scored.left_out == ("dog",)
    save_scores(tmp_path, scored, run=smaller)
    assert load_scores(tmp_path, smaller) == scored


def test_a_value_that_is_not_a_number_is_loaded(tmp_path: Path, run: RunToScore) -> None:
    scored = run.score()
    values = {"cider": [math.nan, *scored.scores[AFTER].per_image["cider"][1:]]}
    scores = replace(scored.scores[AFTER], per_image=values)
    save_scores(tmp_path, replace(scored, scores={**scored.scores, AFTER: scores}), run=run)
    loaded = load_scores(tmp_path, run)
    assert loaded is not None
    back = loaded.scores[AFTER].per_image["cider"]
    assert math.isnan(back[0])
    assert list(back[1:]) == values["cider"][1:]


def test_extra_figures_do_not_override_a_section(tmp_path: Path, run: RunToScore) -> None:
    save_scores(tmp_path, run.score(), run=run, extra={"after": 1, "fingerprint": ""})
    assert load_scores(tmp_path, run) == run.score()


@pytest.mark.parametrize(
    "change",
    [
        lambda run: replace(run, after=run.after[:-1]),
        lambda run: replace(run, after=[replace(run.after[0], caption="a dog"), *run.after[1:]]),
        lambda run: replace(run, before=None),
        lambda run: replace(run, records=run.records[1:]),
        lambda run: replace(run, records=[replace(run.records[0], captions=("x",))]),
        lambda run: replace(run, training_records=()),
        lambda run: replace(run, options=replace(run.options, metrics=("cider",))),
        lambda run: replace(run, options=replace(run.options, bootstrap_samples=300)),
        lambda run: replace(run, options=replace(run.options, seed=8)),
        lambda run: replace(run, options=replace(run.options, max_references=1)),
        lambda run: replace(run, options=replace(run.options, split="val")),
        lambda run: replace(run, options=replace(run.options, generate=None)),
        lambda run: replace(
            run, options=replace(run.options, inputs=replace(run.options.inputs, bert_model="b"))
        ),
    ],
)
def test_scores_of_another_run_or_setting_are_not_loaded(
    folder: Path, run: RunToScore, change: Change
) -> None:
    assert load_scores(folder, change(run)) is None


def test_the_device_and_log_probabilities_do_not_affect_the_fingerprint(
    folder: Path, run: RunToScore
) -> None:
    inputs = replace(run.options.inputs, device="cuda")
    surer = [replace(prediction, mean_logprob=-0.1) for prediction in run.after]
    same = replace(run, after=surer, options=replace(run.options, inputs=inputs))
    assert load_scores(folder, same) is not None


def cut(path: Path) -> None:
    path.write_text(path.read_text()[:-40])


def drop_a_line(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def drop_the_fingerprint(path: Path) -> None:
    content = json.loads(path.read_text())
    del content["fingerprint"]
    path.write_text(json.dumps(content))


def drop_a_value(path: Path) -> None:
    content = json.loads(path.read_text())
    content["after"]["metrics"].popitem()
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (SCORES, drop_a_value),
        (SCORES, Path.unlink),
        (SCORES, cut),
        (SCORES, drop_the_fingerprint),
        (PER_IMAGE, Path.unlink),
        (PER_IMAGE, cut),
        (PER_IMAGE, drop_a_line),
    ],
)
def test_a_damaged_or_older_file_is_not_loaded(
    folder: Path, run: RunToScore, name: str, damage: Callable[[Path], object]
) -> None:
    damage(folder / name)
    assert load_scores(folder, run) is None


@pytest.mark.parametrize("wrong", ["x or 1", [[1]], True, {}])
def test_a_value_of_another_type_is_not_loaded(
    folder: Path, run: RunToScore, wrong: object
) -> None:
    path = folder / SCORES
    whole, scored = path.read_text(encoding="utf-8"), load_scores(folder, run)
    num_refused = 0
    for place in range(len(list(places_in(json.loads(whole))))):
        content = json.loads(whole)
        container, key = list(places_in(content))[place]
        container[key] = other_than(container[key], wrong)
        path.write_text(json.dumps(content), encoding="utf-8")
        # What a report does not read may be anything.
        found = load_scores(folder, run)
        assert found is None or found == scored, (key, wrong)
        num_refused += found is None
    assert num_refused > 30


def other_than(value: object, wrong: object) -> object:
    """Return a value of another type than the one that is there."""
    if wrong != "x or 1" and not isinstance(value, dict | list):
        return wrong
    return 1 if isinstance(value, str) else "x"


def places_in(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every container in a JSON value, with each of its keys."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places_in(value[key])


def test_the_file_of_images_has_one_line_per_image_and_system(
    folder: Path, evaluation: Evaluation
) -> None:
    rows = [json.loads(line) for line in (folder / PER_IMAGE).read_text().splitlines()]
    assert len(rows) == 3 * evaluation.num_images
    of_car = [row for row in rows if row["image_id"] == "car"]
    assert [row["predictions"] for row in of_car] == ["before", "after", "constant_caption"]
    place = evaluation.scores[AFTER].image_ids.index("car")
    assert of_car[1]["cider"] == evaluation.scores[AFTER].per_image["cider"][place]
