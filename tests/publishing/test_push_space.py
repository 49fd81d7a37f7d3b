"""A pushed Space: its files, and its app with a real model."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import captune
from captune.cli import main
from captune.errors import OutputError
from captune.publishing import push_run, push_space
from support.hub.repos import READER, HubServer
from support.models.tiny_models import ONE_PER_FAMILY, build, images


def test_a_space_has_an_app_its_packages_and_front_matter(hub: HubServer, run: Path) -> None:
    pushed = push_run(run, "me/mine")
    space, _ = push_space(pushed, run, repo="me/demo")
    repo = hub.repos["spaces/me/demo"]
    assert set(repo.files) == {
        *(".gitattributes", "app.py", "requirements.txt", "README.md"),
        *("examples/1.jpg", "examples/2.jpg", "examples/3.jpg"),
    }
    _, head, text = repo.files["README.md"].decode().split("---\n")
    front = yaml.safe_load(head)
    assert (front["sdk"], front["app_file"], front["models"]) == ("gradio", "app.py", ["me/mine"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", front["sdk_version"])
    # A text: as a number, 3.10 would be 3.1.
    assert re.fullmatch(r"3\.\d+", front["python_version"])
    assert "HF_TOKEN" not in text
    assert space.url.endswith("/spaces/me/demo")
    app = repo.files["app.py"].decode()
    compile(app, "app.py", "exec")
    assert f'REVISION = "{pushed.commit}"' in app
    assert "['examples/1.jpg', 3, 30]" in app


def test_a_space_of_a_private_model_names_the_secret(hub: HubServer, run: Path) -> None:
    pushed = push_run(run, "me/mine", private=True, with_images=False)
    push_space(pushed, run, repo="me/demo", private=True)
    repo = hub.repos["spaces/me/demo"]
    assert repo.private
    assert "secret `HF_TOKEN`" in repo.files["README.md"].decode()
    assert not [name for name in repo.files if name.startswith("examples/")]


def test_examples_of_an_earlier_push_are_removed(hub: HubServer, run: Path) -> None:
    push_space(push_run(run, "me/mine"), run, repo="me/demo")
    push_space(push_run(run, "me/mine", with_images=False), run, repo="me/demo")
    files = hub.repos["spaces/me/demo"].files
    assert not [name for name in files if name.startswith("examples/")]
    assert b"examples=None" in files["app.py"]


def test_the_command_pushes_model_and_space(
    hub: HubServer, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["push", str(run), "me/mine", "--space", "me/demo"])
    assert not caught.value.code
    assert "space:   " in capsys.readouterr().out
    assert {"models/me/mine", "spaces/me/demo"} <= set(hub.repos)


def test_a_token_that_may_not_write_is_explained(
    hub: HubServer, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = push_run(run, "me/mine")
    monkeypatch.setenv("HF_TOKEN", READER)
    with pytest.raises(OutputError, match="me/demo"):
        push_space(pushed, run, repo="me/demo")
    assert "spaces/me/demo" not in hub.repos


class _Parts(ModuleType):
    """In place of gradio, which need not be installed: keeps what the app hands to it."""

    Error = RuntimeError

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *words, **settings: (name, words, settings)


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_the_app_captions_as_captune_does(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    build(name).save(tmp_path / "mine")
    push_space(push_run(tmp_path / "mine", "me/mine"), tmp_path / "mine", repo="me/demo")
    monkeypatch.setitem(sys.modules, "gradio", _Parts("gradio"))
    # The app sets it; the test's end removes it again.
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "")
    del os.environ["GRADIO_ANALYTICS_ENABLED"]
    app: dict[str, Any] = {"__name__": "app"}
    exec(hub.repos["spaces/me/demo"].files["app.py"].decode(), app)
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    _, _, settings = app["demo"]
    (image,) = images(1)
    ours = captune.load(str(tmp_path / "mine"), device="cpu", precision="fp32")
    expected = ours.caption(image, num_beams=2, max_new_tokens=12)[0].caption
    assert settings["fn"](image, 2, 12) == expected
    seen_through = image.convert("RGBA")
    seen_through.putalpha(90)
    expected = ours.caption(seen_through, num_beams=2, max_new_tokens=12)[0].caption
    assert settings["fn"](seen_through, 2, 12) == expected
    with pytest.raises(RuntimeError, match="Choose an image"):
        settings["fn"](None, 2, 12)
