"""The model card: a few figures with words, what the author states, and no link to a file."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from captune.evaluation import Origin, ReportInputs, write_model_card
from captune.hub import describe_use
from captune.metrics import METRICS
from captune.recipe import Recipe, dump_changed, dump_recipe

RECIPE = Recipe.model_validate({"name": "small-run", "train": {"epochs": 9}})
ORIGIN = Origin(data="photos", recipe=dump_recipe(RECIPE), changed=dump_changed(RECIPE))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder that looks like a BLIP model."""
    (tmp_path / "config.json").write_text('{"model_type": "blip"}')
    return tmp_path


def write(model: Path, inputs: ReportInputs, origin: Origin = ORIGIN) -> str:
    write_model_card(model, inputs, origin=origin)
    return (model / "README.md").read_text(encoding="utf-8")


def shown(card: str) -> str:
    """Return what a reader sees before opening anything."""
    body = card.split("---\n", 2)[2]
    return re.sub(r"<details>.*?</details>", "", body, flags=re.DOTALL)


def test_six_figures_are_shown_with_words_and_all_others_are_folded(
    model: Path, inputs: ReportInputs
) -> None:
    card = write(model, inputs)
    table = [line for line in shown(card).split("\n") if line.startswith("| ")]
    assert table[0] == "| metric | before training | this model | constant caption |"
    assert [line.split(" | ")[0] for line in table[2:]] == [
        "| CIDEr",
        "| BLEU-4",
        "| Distinct captions",
        "| Word error rate (lower is better)",
        "| BLEU-1",
    ]
    assert "| Mean length, words |" not in shown(card)
    assert "| Mean length, words |" in card
    raw = [name for name in METRICS if "_" in name and name in shown(card)]
    assert raw == []
    assert "`report.html` in the run's folder shows them with their images:\n\n- `" in card


def test_the_visible_signature_is_short_and_the_full_one_is_folded(
    model: Path, inputs: ReportInputs
) -> None:
    card = write(model, inputs)
    (signature,) = re.findall(r"^`(split:.*)`$", shown(card), flags=re.MULTILINE)
    assert len(signature) < 120
    assert "bootstrap:" not in signature
    assert f"`{inputs.evaluation.scores['after'].signature}`" in card


def test_only_changed_settings_are_shown_and_they_are_a_recipe(
    model: Path, inputs: ReportInputs
) -> None:
    card = write(model, inputs)
    (changed,) = re.findall(r"```yaml\n(.*?)\n```", shown(card), flags=re.DOTALL)
    assert changed == "name: small-run\ntrain:\n  epochs: 9"
    assert "micro_batch_size" not in shown(card)
    assert "micro_batch_size" in card


def test_a_licence_and_a_language_are_stated_in_text_and_metadata(
    model: Path, inputs: ReportInputs
) -> None:
    card = write(model, inputs, replace(ORIGIN, license="cc-by-4.0", language="en"))
    data = ModelCard(card).data
    assert (data.license, data.language) == ("cc-by-4.0", "en")
    assert "`cc-by-4.0`." in shown(card)
    assert "Not stated" not in card


def test_without_a_licence_the_card_says_so_and_how_to_state_one(
    model: Path, inputs: ReportInputs
) -> None:
    card = write(model, inputs, replace(ORIGIN, base_models=("me/base",)))
    assert ModelCard(card).data.license is None
    assert "**Not stated**" in shown(card)
    assert "sets `license:` in the recipe" in shown(card)
    assert "The terms of the base model `me/base` and the training data apply" in shown(card)


def test_use_and_limits_name_the_data_and_the_warnings_of_the_verdict(
    model: Path, inputs: ReportInputs
) -> None:
    text = shown(write(model, inputs))
    assert "Meant for captions of images like those of `photos`." in text
    assert "Only 6 images were scored" in text


def test_the_card_links_to_no_file(model: Path, inputs: ReportInputs) -> None:
    card = write(model, inputs)
    assert "](" not in card
    assert "../" not in card


def test_a_count_is_a_whole_number_in_the_metadata(model: Path, inputs: ReportInputs) -> None:
    evaluation = inputs.evaluation
    scores = {
        name: replace(own, metrics={"vocabulary_size": 23.0}, intervals={})
        for name, own in evaluation.scores.items()
    }
    tests = {pair: {} for pair in evaluation.tests}
    counted = replace(inputs, evaluation=replace(evaluation, scores=scores, tests=tests))
    card = write(model, counted)
    assert "value: 23\n" in card
    assert "| Vocabulary, words | 23 | 23 | 23 |" in shown(card)


def test_the_code_of_the_card_is_the_one_that_is_run_in_the_tests_of_the_hub(
    model: Path, inputs: ReportInputs
) -> None:
    # `tests/test_card.py` runs it on a tiny model of every family.
    assert describe_use(model) in shown(write(model, inputs))


def test_an_empty_caption_is_named_as_such(model: Path, inputs: ReportInputs) -> None:
    (first, *rest) = inputs.after
    card = write(model, replace(inputs, after=[replace(first, caption=" "), *rest]))
    assert "\n- (empty)\n" in card
