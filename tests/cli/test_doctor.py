"""`captune doctor`: what is there is said, what is missing comes with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import captune.cli.doctor as doctor_module
from captune.cli import main
from captune.cli.doctor import examine


def test_a_machine_that_runs_the_tests_has_nothing_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["doctor"])
    printed = capsys.readouterr().out
    assert caught.value.code == 0, printed
    assert torch.__version__ in printed
    assert list(tmp_path.iterdir()) == []


def test_missing_java_and_extras_are_notes_with_what_they_are_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(doctor_module, "_EXTRAS", {"imaginary": "no-such-package-here"})
    findings = {finding.name: finding for finding in examine()}
    assert (findings["java"].state, findings["extra imaginary"].state) == ("note", "note")
    assert "SPICE" in findings["java"].detail
    assert "pip install 'captune[imaginary]'" in findings["extra imaginary"].detail


def test_a_missing_package_is_bad_and_exits_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor_module, "_PACKAGES", ("no-such-package-here",))
    with pytest.raises(SystemExit) as caught:
        main(["doctor"])
    assert caught.value.code == 3
    assert "bad  no-such-package-here" in capsys.readouterr().out
