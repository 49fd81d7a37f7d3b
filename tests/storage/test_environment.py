"""Homes that are not known, and numbers in environment variables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import captune
from captune.cli import main
from captune.errors import EnvironmentValueError, OutputError
from captune.storage import expand_home, find_cache_folder, find_home, read_count, read_seconds


def test_the_home_of_an_unknown_user_is_left_as_it_is():
    assert expand_home("~no-such-user/a") == Path("~no-such-user/a")
    assert expand_home("~/a") == Path.home() / "a"


@pytest.fixture
def homeless(monkeypatch):
    """Make this a process whose user has no home, as in a container with a foreign user id."""

    def getpwuid(_uid: int) -> None:
        raise KeyError("getpwuid(): uid not found")

    pwd = pytest.importorskip("pwd")
    monkeypatch.setattr(pwd, "getpwuid", getpwuid)
    for name in ("HOME", "CAPTUNE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("homeless")
def test_without_a_home_the_cache_folder_must_be_named(monkeypatch, tmp_path):
    with pytest.raises(OutputError, match="the home folder of this user is not known") as caught:
        find_cache_folder()
    assert "set CAPTUNE_CACHE to a folder" in caught.value.fix
    with pytest.raises(OutputError) as caught:
        find_home(variable="OTHER_CACHE")
    assert "set OTHER_CACHE to a folder" in caught.value.fix
    monkeypatch.setenv("CAPTUNE_CACHE", str(tmp_path))
    assert find_cache_folder() == tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ("data", "check", "~no-such-user/set"),
        ("caption", "~no-such-user/model", "~no-such-user/a.jpg"),
        ("run", "~no-such-user/recipe.yaml"),
        ("run", "flickr8k-cpu", "--set", "data.path=~no-such-user/set", "--dry-run"),
        ("export", "~no-such-user/model", "out", "--to", "onnx"),
    ],
)
def test_a_path_below_the_home_of_an_unknown_user_is_a_path_that_does_not_exist(
    words, capsys, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(words)
    errors = capsys.readouterr().err
    assert ended.value.code == 2, errors
    assert "~no-such-user" in errors
    assert "internal error" not in errors


def test_only_one_module_asks_for_homes():
    package = Path(captune.__file__).parent
    asking = [
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(r"\.expanduser\(|Path\.home\(", path.read_text(encoding="utf-8"))
    ]
    assert asking == ["storage/environment.py"]


@pytest.mark.parametrize("value", ["two", "-1", "1.5", "٣", "9" * 5000])
def test_a_count_that_is_not_a_whole_number_names_its_variable(monkeypatch, value):
    monkeypatch.setenv("WORLD_SIZE", value)
    with pytest.raises(EnvironmentValueError, match="WORLD_SIZE is") as caught:
        read_count("WORLD_SIZE", 1)
    assert "a whole number" in caught.value.fix


@pytest.mark.parametrize("value", ["soon", "0", "-3", "nan", "inf"])
def test_seconds_must_be_a_number_above_0(monkeypatch, value):
    monkeypatch.setenv("CAPTUNE_WORKER_SECONDS", value)
    with pytest.raises(EnvironmentValueError, match="CAPTUNE_WORKER_SECONDS is"):
        read_seconds("CAPTUNE_WORKER_SECONDS", 5.0)


def test_variables_that_are_not_set_or_empty_give_the_default(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert read_count("WORLD_SIZE", 1) == 1
    monkeypatch.setenv("WORLD_SIZE", " 3 ")
    assert read_count("WORLD_SIZE", 1) == 3
    monkeypatch.setenv("CAPTUNE_WORKER_SECONDS", "")
    assert read_seconds("CAPTUNE_WORKER_SECONDS", 5.0) == 5.0
