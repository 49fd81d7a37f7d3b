"""`captune recipes`: the list, the recipe as shipped, and every setting."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from captune.cli import main
from captune.recipe import load_recipe, parse_recipe, shipped_path, shipped_recipes


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["recipes", *words])
    assert caught.value.code == 0
    return capsys.readouterr().out


def test_the_list_names_every_shipped_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys).splitlines()
    named = {line.split()[0] for line in lines if line and not line.startswith(" ")}
    assert set(shipped_recipes()) <= named


def test_a_recipe_is_printed_as_shipped_with_comments(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = printed(capsys, "demo")
    assert text == shipped_path("demo").read_text()
    assert text.startswith("#")


def test_a_recipe_is_printed_to_a_file_in_utf8_whatever_the_locale_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, written = tmp_path / "my.yaml", io.BytesIO()
    path.write_text("description: Bär und 犬\n", encoding="utf-16")
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp1252"))
    with pytest.raises(SystemExit) as caught:
        main(["recipes", str(path)])
    assert caught.value.code == 0
    assert written.getvalue().decode() == "description: Bär und 犬\n"


@pytest.mark.parametrize("name", shipped_recipes())
def test_the_full_output_is_the_same_recipe(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_recipe(printed(capsys, name, "--full")) == load_recipe(name)


def test_a_file_is_checked_before_it_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("name: mine\nsed: 1\n")
    with pytest.raises(SystemExit) as caught:
        main(["recipes", str(path)])
    assert caught.value.code == 2
    assert "did you mean seed?" in capsys.readouterr().err
    path.write_text("name: mine  # a comment\n")
    assert printed(capsys, str(path)) == "name: mine  # a comment\n"
