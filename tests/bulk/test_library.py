"""`captune.caption_library` refuses values without effect, as the command line does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import captune
from captune.errors import OutputError
from support.runs.documented import write_example_folder


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("existing", "overwrit", "'overwrite'"),
        ("sidecar_name", "whole", "'stem' or 'full'"),
        ("engine", "rya", "'local' or 'ray'"),
        ("decode", "fast", "'isolated' or 'inline'"),
        ("clean", "boilerplates", "'boilerplate' or 'repeat'"),
        ("clean", ["repeat", "all"], "'boilerplate' or 'repeat'"),
        ("limit", 0, "a whole number from 1"),
        ("batch_size", "8", "a whole number from 1"),
        ("max_chars", -1, "a whole number from 1"),
        ("actors", True, "a whole number from 1"),
    ],
)
def test_a_value_that_does_not_exist_is_refused_with_the_allowed_ones(
    tmp_path: Path, name: str, value: Any, fix: str
) -> None:
    with pytest.raises(OutputError, match=name) as caught:
        captune.caption_library("model", tmp_path, to="txt", **{name: value})
    assert fix in caught.value.fix
    assert caught.value.where == f"caption_library({name}=...)"


def test_one_step_of_cleaning_needs_no_list_and_none_is_the_default(tmp_path: Path) -> None:
    write_example_folder(tmp_path)
    result = captune.caption_library(
        tmp_path / "runs" / "demo" / "model",
        tmp_path / "photo.jpg",
        to="txt",
        clean="repeat",  # type: ignore[typeddict-item]
        existing=None,  # type: ignore[typeddict-item]
        engine=None,  # type: ignore[typeddict-item]
        decoding={"min_new_tokens": 3, "max_new_tokens": 4, "num_beams": 1},
    )
    assert result.outcome.num_failed == 0
    assert (tmp_path / "photo.txt").is_file()
