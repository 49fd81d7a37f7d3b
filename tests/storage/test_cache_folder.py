"""One cache folder for all of captune, where the system or the user puts caches."""

from __future__ import annotations

from pathlib import Path

import pytest

from captune.errors import EnvironmentValueError
from captune.storage import find_cache_folder


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CAPTUNE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)


def test_the_cache_is_in_the_users_cache_folder(tmp_path: Path) -> None:
    assert find_cache_folder() == tmp_path / ".cache" / "captune"


def test_the_cache_follows_the_systems_variable(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert find_cache_folder() == tmp_path / "xdg" / "captune"
    monkeypatch.setenv("XDG_CACHE_HOME", "xdg")
    assert find_cache_folder() == tmp_path / ".cache" / "captune"


def test_captunes_own_variable_takes_precedence(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("CAPTUNE_CACHE", str(tmp_path / "own"))
    assert find_cache_folder() == tmp_path / "own"


@pytest.mark.parametrize("name", ["CAPTUNE_CACHE", "XDG_CACHE_HOME"])
def test_the_home_of_an_unknown_user_is_no_cache(name: str, monkeypatch) -> None:
    monkeypatch.setenv(name, "~no-such-user/cache")
    with pytest.raises(EnvironmentValueError, match=f"{name} is '~no-such-user/cache'"):
        find_cache_folder()


def test_a_tilde_in_a_variable_is_the_home(monkeypatch) -> None:
    # Path.expanduser asks for HOME.
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", "~/caches")
    assert find_cache_folder() == Path("/home/me/caches/captune")


def test_stored_images_are_in_the_cache_folder(tmp_path: Path, monkeypatch) -> None:
    from captune.data.rows.image_store import ImageStore

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert ImageStore(0).folder.is_relative_to(tmp_path / "xdg" / "captune")
