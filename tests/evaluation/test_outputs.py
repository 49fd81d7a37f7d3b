"""The files of `captune compare --out`."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from captune.evaluation import (
    ComparisonInputs,
    ScoringOptions,
    compare_systems,
    write_comparison_files,
)
from captune.recipe import GenerateConfig
from captune.records import CaptionRecord, Prediction


@pytest.mark.slow
def test_hundreds_of_chosen_images_are_all_on_the_page_and_some_in_the_picture(
    records: list[CaptionRecord],
    before: list[Prediction],
    after: list[Prediction],
    options: ScoringOptions,
    tmp_path: Path,
) -> None:
    picture = records[0].image
    chosen = [CaptionRecord(f"chosen:{n}", picture, file_name=f"{n}.png") for n in range(500)]
    shown = [Prediction(record.image_id, "a dog", -1.0, 2, "eos") for record in chosen]
    systems = {"one": [*before, *shown], "two": [*after, *shown]}
    evaluation = compare_systems(records, {"one": before, "two": after}, options=options)
    write_comparison_files(
        tmp_path,
        ComparisonInputs(records, systems, evaluation, GenerateConfig(), seed=1, chosen=chosen),
    )
    # matplotlib draws no picture of more than 65,535 pixels.
    with Image.open(tmp_path / "comparison.png") as drawn:
        assert drawn.height < 20_000
    assert (tmp_path / "comparison.html").read_text().count("<article") == 500
