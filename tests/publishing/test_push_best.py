"""Each new best model is pushed while training runs; failures are only reported."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from captune.publishing import BestModelPusher
from support.hub.repos import READER, HubServer


def keep_best(run: Path, weights: bytes) -> None:
    """Save a model like training does: in a temporary folder that is then renamed."""
    temporary = run / ".model.new"
    temporary.mkdir(parents=True)
    (temporary / "config.json").write_text("{}")
    (temporary / "model.safetensors").write_bytes(weights)
    if (run / "model").exists():
        (run / "model").rename(run / ".model.old")
    temporary.rename(run / "model")
    for old in (run / ".model.old").glob("*"):
        old.unlink()
    if (run / ".model.old").exists():
        (run / ".model.old").rmdir()


def wait_for(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.05)


def weights_on(hub: HubServer) -> bytes | None:
    repo = hub.repos.get("models/me/best")
    return repo.files.get("model.safetensors") if repo else None


def pusher(run: Path, said: list[str]) -> BestModelPusher:
    return BestModelPusher(run / "model", "me/best", private=True, say=said.append)


@pytest.mark.slow
def test_each_new_best_model_is_pushed_while_training_continues(
    hub: HubServer, tmp_path: Path
) -> None:
    said: list[str] = []
    with pusher(tmp_path, said):
        assert hub.repos["models/me/best"].private
        keep_best(tmp_path, b"first")
        wait_for(lambda: weights_on(hub) == b"first")
        keep_best(tmp_path, b"second")
        wait_for(lambda: weights_on(hub) == b"second")
    # Leaving pushes nothing twice.
    assert len(hub.repos["models/me/best"].commits) == 3
    assert len(said) == 2
    assert said[0].startswith(f"pushed the best model so far to {hub.url}/me/best")
    assert sorted(path.name for path in tmp_path.iterdir() if "push" in path.name) == []


def test_the_last_best_model_is_pushed_on_leaving(hub: HubServer, tmp_path: Path) -> None:
    with pusher(tmp_path, []):
        keep_best(tmp_path, b"at the very end")
    assert weights_on(hub) == b"at the very end"


def test_a_model_of_an_earlier_run_is_not_pushed(hub: HubServer, tmp_path: Path) -> None:
    keep_best(tmp_path, b"old")
    with pusher(tmp_path, []):
        pass
    assert weights_on(hub) is None


@pytest.mark.slow
def test_a_failed_push_is_reported_and_the_next_one_includes_it(
    hub: HubServer, tmp_path: Path
) -> None:
    said: list[str] = []
    with pusher(tmp_path, said):
        hub.refusals.append(("^POST .*/commit/", 400))
        keep_best(tmp_path, b"first")
        wait_for(lambda: bool(said))
        hub.refusals.clear()
        keep_best(tmp_path, b"second")
        wait_for(lambda: weights_on(hub) == b"second")
    assert said[0].startswith("not pushed, training continues: cannot push to me/best")


@pytest.mark.slow
def test_a_failed_push_is_repeated_at_the_end(hub: HubServer, tmp_path: Path) -> None:
    said: list[str] = []
    with pusher(tmp_path, said):
        hub.refusals.append(("^POST .*/commit/", 400))
        keep_best(tmp_path, b"only")
        wait_for(lambda: bool(said))
        hub.refusals.clear()
    assert weights_on(hub) == b"only"


def test_an_invalid_token_is_reported_before_training(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", READER)
    said: list[str] = []
    with pusher(tmp_path, said):
        assert "may not write to me/best" in said[0]
        assert "with the role `write`" in said[1]
        keep_best(tmp_path, b"kept here")
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == b"kept here"


def test_a_training_error_is_raised_without_delay(hub: HubServer, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), pusher(tmp_path, []):
        keep_best(tmp_path, b"half")
        raise KeyboardInterrupt
    assert (tmp_path / "model").is_dir()
