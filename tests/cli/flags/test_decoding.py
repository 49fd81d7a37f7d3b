"""The decoding flags: every setting of the config, under Hugging Face's name with dashes."""

from __future__ import annotations

from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from captune.cli.flags.decoding import takes_decoding
from captune.errors import RecipeError
from captune.recipe import GenerateConfig


def _app(seen: list[object]) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    @takes_decoding
    def command(
        model: str, *, top: Annotated[int, typer.Option()] = 1, decoding: GenerateConfig
    ) -> None:
        seen.extend((model, top, decoding))

    return app


def _run(*words: str) -> list[object]:
    seen: list[object] = []
    result = CliRunner().invoke(_app(seen), words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return seen


def test_without_flags_the_defaults_of_the_config_apply():
    assert _run("m") == ["m", 1, GenerateConfig()]


def test_decoding_flags_and_own_options_work_together():
    seen = _run("m", "--num-beams", "5", "--top", "7", "--early-stopping", "--prompt", "a photo")
    expected = GenerateConfig(num_beams=5, early_stopping=True, prompt="a photo")
    assert seen == ["m", 7, expected]


def test_every_setting_has_a_flag_with_its_description():
    result = CliRunner().invoke(_app([]), ["--help"], env={"COLUMNS": "250", "TERM": "dumb"})
    for name, field in GenerateConfig.model_fields.items():
        assert f"--{name.replace('_', '-')} " in result.output
        assert str(field.description).split(";")[0][:40] in result.output


def test_sampling_uses_one_beam_unless_num_beams_is_given():
    assert _run("m", "--do-sample")[2] == GenerateConfig(num_beams=1, do_sample=True)


def test_all_errors_are_reported_at_once_under_the_names_of_the_flags():
    with pytest.raises(RecipeError, match=r"--num-beams: .*, not 0; --top-p: .*, not 2\.0"):
        _run("m", "--num-beams", "0", "--top-p", "2")
