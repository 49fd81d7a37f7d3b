"""`captune doctor`: what is found is reported, what is missing comes with a fix."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

import captune.cli.doctor as doctor_module
from captune.cli import main
from captune.cli.doctor import examine
from captune.cli.findings.network import examine_network
from captune.hardware import available_kinds
from support.hub.repos import HubServer


@pytest.fixture(autouse=True)
def servers(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """The hub and Kaggle on loopback: no test contacts the real ones."""
    monkeypatch.setenv("KAGGLE_API_ENDPOINT", hub.url)
    return hub


def test_the_machine_that_runs_the_tests_has_no_bad_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["doctor"])
    printed = capsys.readouterr().out
    assert caught.value.code == 0, printed
    assert torch.__version__ in printed
    assert list(tmp_path.iterdir()) == []


def test_missing_java_and_extras_are_notes_with_their_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(doctor_module, "_EXTRAS", {"imaginary": ("no-such-package-here", "dreams")})
    findings = {finding.name: finding for finding in examine(Path.cwd())}
    assert (findings["java"].state, findings["extra imaginary"].state) == ("note", "note")
    assert "SPICE" in findings["java"].detail
    assert "(dreams): pip install 'captune[imaginary]'" in findings["extra imaginary"].detail


@pytest.mark.parametrize(("tool", "kind"), [("nvidia-smi", "cuda"), ("xpu-smi", "xpu")])
def test_a_driver_without_a_torch_device_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str, kind: str
) -> None:
    if kind in available_kinds():
        pytest.skip(f"torch sees a {kind} device here")
    (tmp_path / tool).write_text("#!/bin/sh\n")
    (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (found,) = [finding for finding in examine(Path.cwd()) if finding.name == "gpu"]
    assert found.state == "note"
    expected = f"{tool} is installed, but torch finds no {kind} device"
    assert found.detail.startswith(expected)


def test_a_missing_package_is_bad_and_exits_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor_module, "_PACKAGES", ("no-such-package-here",))
    with pytest.raises(SystemExit) as caught:
        main(["doctor"])
    assert caught.value.code == 3
    assert "bad  no-such-package-here" in capsys.readouterr().out


def test_the_hub_and_kaggle_are_contacted_and_the_login_is_reported(
    servers: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, kaggle = examine_network()
    assert (hub.state, kaggle.state) == ("ok", "ok")
    assert hub.detail == f"{servers.url} answers; logged in as me"
    monkeypatch.setenv("HF_TOKEN", "hf_stale")
    hub, _ = examine_network()
    assert hub.state == "note"
    assert "rejects the token" in hub.detail and "hf auth login" in hub.detail
    monkeypatch.delenv("HF_TOKEN")
    hub, _ = examine_network()
    assert hub.state == "ok"
    assert "no token: public models only" in hub.detail


def test_servers_that_do_not_answer_are_notes_with_a_fix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nobody = "http://127.0.0.1:9"
    monkeypatch.setattr(constants, "ENDPOINT", nobody)
    monkeypatch.setenv("KAGGLE_API_ENDPOINT", nobody)
    for finding in examine_network():
        assert finding.state == "note"
        assert f"{nobody} does not answer" in finding.detail
        assert "check connection and proxy" in finding.detail
        assert "local folders" in finding.detail
    monkeypatch.setenv("KAGGLE_API_ENDPOINT", "http://not a host")
    _, kaggle = examine_network()
    assert "http://not a host does not answer (URL can't contain" in kaggle.detail


def test_an_offline_hub_is_not_contacted(
    servers: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    servers.requests.clear()
    hub, _ = examine_network()
    assert (hub.state, "HF_HUB_OFFLINE" in hub.detail) == ("note", True)
    assert not any("/api/" in request for request in servers.requests)


def test_unreadable_kaggle_credentials_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kaggle.json").write_text("{not json")
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    _, kaggle = examine_network()
    assert "credentials cannot be read" in kaggle.detail


def test_caches_are_listed_with_their_contents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "hub"
    (cache / "models--me--a").mkdir(parents=True)
    (cache / "datasets--me--b").mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "none"))
    findings = {finding.name: finding for finding in examine(Path.cwd())}
    assert findings["hub cache"].detail == f"{cache}, 1 model, 1 data set"
    assert findings["kaggle cache"].detail == f"{tmp_path / 'none'}, not created yet"


@pytest.mark.parametrize(
    ("value", "state", "detail"),
    [
        ("~no-such-user/c", "bad", "CAPTUNE_CACHE is '~no-such-user/c': set it to a folder"),
        ("a-file", "bad", "a-file is a file: set CAPTUNE_CACHE to a folder"),
        ("a-file/c", "bad", "a-file is a file: set CAPTUNE_CACHE to a folder"),
        ("folder", "ok", "folder, 1 entry"),
        ("none/c", "ok", "none/c, not created yet"),
    ],
)
def test_a_cache_of_captunes_own_that_cannot_be_used_is_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, state: str, detail: str
) -> None:
    (tmp_path / "a-file").write_text("")
    (tmp_path / "folder" / "checks").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAPTUNE_CACHE", value)
    (found,) = [each for each in doctor_module._caches() if each.name == "captune cache"]
    assert (found.state, detail in found.detail) == (state, True), found.detail


def test_a_package_that_cannot_be_imported_does_not_end_the_examination(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SystemExit) as caught:
        main(["doctor"])
    assert caught.value.code == 3
    printed = capsys.readouterr().out
    assert "bad  caches" in printed
    assert "working folder" in printed
