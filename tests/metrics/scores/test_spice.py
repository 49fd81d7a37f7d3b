"""The calls of SPICE: a script in place of java records its input and gives various answers."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from captune.cli import main
from captune.errors import EnvironmentValueError, MetricError, MissingExtraError
from captune.metrics import compute
from captune.metrics.scores.spice import CORENLP_JARS, find_spice

REFERENCES = {"a b": ["A dog runs.", "one dog"], "7": ["two cats"]}
PREDICTIONS = {"a b": "A dog!", "7": "cats"}

JAVA = """#!{python}
import json, pathlib, sys, time
arguments = sys.argv[1:]
if arguments == ["-version"]:
    print('openjdk version "{version}" 2021-09-14', file=sys.stderr)
    sys.exit(0)
rows = json.loads(pathlib.Path(arguments[arguments.index("-jar") + 2]).read_text())
out = pathlib.Path(arguments[arguments.index("-out") + 1])
pathlib.Path(r"{log}").write_text(json.dumps([arguments, rows]))
{act}
"""
ANSWER = "out.write_text(json.dumps([dict(image_id=r['image_id'], scores=dict(All=dict(f={f})))"
ANSWER += " for r in rows[::-1]]))"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "spice"
    (folder / "lib").mkdir(parents=True)
    (folder / "spice-1.0.jar").touch()
    for name in CORENLP_JARS:
        (folder / "lib" / name).touch()
    monkeypatch.setenv("CAPTUNE_SPICE_HOME", str(folder))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return folder


def install_java(home: Path, act: str, *, version: str = "17.0.1") -> Path:
    """Put a program called java into PATH; return the file to which it writes its input."""
    log = home.parent / "log.json"
    program = home.parent / "bin" / "java"
    program.parent.mkdir(exist_ok=True)
    program.write_text(JAVA.format(python=sys.executable, version=version, log=log, act=act))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return log


def test_scores_are_assigned_to_their_images(home: Path) -> None:
    install_java(home, ANSWER.format(f="0.25 + r['image_id'] / 2"))
    results = compute(REFERENCES, PREDICTIONS, metrics=["spice"])
    assert results.per_image["spice"].tolist() == [0.25, 0.75]
    assert results.corpus["spice"] == 0.5
    assert "variant:spice-1.0|tok:ptb" in results.signatures["spice"]


def test_java_receives_tokens_memory_and_a_folder_outside_the_installed_packages(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPTUNE_SPICE_MEMORY", "3g")
    log = install_java(home, ANSWER.format(f="1"))
    compute(REFERENCES, PREDICTIONS, metrics=["spice"])
    arguments, rows = json.loads(log.read_text())
    assert rows == [
        {"image_id": 0, "test": "a dog", "refs": ["a dog runs", "one dog"]},
        {"image_id": 1, "test": "cats", "refs": ["two cats"]},
    ]
    assert "-Xmx3g" in arguments
    assert arguments[:2] == ["--add-opens", "java.base/java.lang=ALL-UNNAMED"]
    place = Path(arguments[arguments.index("-cache") + 1])
    assert "captune-spice-" in str(place)
    assert not place.parent.exists()


def test_java_8_does_not_receive_unknown_options(home: Path) -> None:
    log = install_java(home, ANSWER.format(f="1"), version="1.8.0_392")
    compute(REFERENCES, PREDICTIONS, metrics=["spice"])
    assert "--add-opens" not in json.loads(log.read_text())[0]


def test_images_without_a_score_are_named_and_omitted_from_the_mean(home: Path) -> None:
    install_java(home, ANSWER.format(f="float('nan') if r['image_id'] else 0.5"))
    with pytest.warns(UserWarning, match="no score for 1 image, which its mean omits: 7"):
        results = compute(REFERENCES, PREDICTIONS, metrics=["spice"])
    assert results.corpus["spice"] == 0.5
    assert np.isnan(results.per_image["spice"][1])


@pytest.mark.parametrize(
    ("act", "message"),
    [
        ("print('boom'); sys.exit(3)", "SPICE failed with exit code 3: boom"),
        ("pass", "SPICE failed with exit code 0"),
        ("out.write_text('{')", "SPICE's output cannot be read"),
        ("out.write_text('[]')", "SPICE gave 0 scores for 2 images"),
    ],
)
def test_a_failure_of_spice_is_an_error_that_quotes_its_output(
    home: Path, act: str, message: str
) -> None:
    install_java(home, act)
    with pytest.raises(MetricError, match=message):
        compute(REFERENCES, PREDICTIONS, metrics=["spice"])


def test_the_error_for_too_little_memory_names_the_setting(home: Path) -> None:
    install_java(home, "sys.exit('java.lang.OutOfMemoryError: Java heap space')")
    with pytest.raises(MetricError) as caught:
        compute(REFERENCES, PREDICTIONS, metrics=["spice"])
    assert caught.value.fix == "set CAPTUNE_SPICE_MEMORY to a larger heap"


def test_spice_is_stopped_after_the_timeout(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTUNE_SPICE_TIMEOUT", "1")
    install_java(home, "time.sleep(60)")
    with pytest.raises(MetricError, match="SPICE did not finish in 1 s"):
        compute(REFERENCES, PREDICTIONS, metrics=["spice"])


@pytest.mark.parametrize("name", ["MEMORY", "TIMEOUT"])
def test_bad_settings_are_named(home: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"CAPTUNE_SPICE_{name}", "lots")
    install_java(home, ANSWER.format(f="1"))
    with pytest.raises(EnvironmentValueError, match=f"CAPTUNE_SPICE_{name} is 'lots'"):
        compute(REFERENCES, PREDICTIONS, metrics=["spice"])


def test_missing_programs_and_jars_are_named_with_the_way_to_get_them(home: Path) -> None:
    with pytest.raises(MissingExtraError, match="no java in PATH") as caught:
        find_spice()
    assert "pip install 'captune[java]'" in caught.value.fix
    install_java(home, "pass")
    (home / "lib" / CORENLP_JARS[1]).unlink()
    with pytest.raises(MissingExtraError, match=f"missing: {CORENLP_JARS[1]}") as caught:
        find_spice()
    assert caught.value.fix.startswith(
        f"put {CORENLP_JARS[1]} into {home / 'lib'}: both are in nlp"
    )
    (home / "spice-1.0.jar").unlink()
    with pytest.raises(MissingExtraError, match="SPICE's jar is missing"):
        find_spice()


def test_all_skips_spice_if_it_cannot_run_but_its_name_is_an_error(home: Path) -> None:
    results = compute(REFERENCES, PREDICTIONS, metrics=["all"])
    assert "spice" not in results.corpus
    assert "cider" in results.corpus
    with pytest.raises(MissingExtraError):
        compute(REFERENCES, PREDICTIONS, metrics=["spice", "cider"])


@pytest.mark.filterwarnings("default::UserWarning")
def test_the_command_names_images_without_a_score_and_writes_null_for_them(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install_java(home, ANSWER.format(f="float('nan') if r['image_id'] else 0.5"))
    folder = home.parent
    for name, content in (("references", REFERENCES), ("predictions", PREDICTIONS)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    files = [
        part for n in ("references", "predictions") for part in (f"--{n}", f"{folder / n}.json")
    ]
    written = ["--json", str(folder / "scores.json"), "--per-image", str(folder / "rows.jsonl")]
    with pytest.raises(SystemExit) as stop:
        main(["score", *files, *written, "--metrics", "spice,bleu_1"])
    assert stop.value.code == 0
    output = capsys.readouterr()
    assert output.err == "warning: SPICE has no score for 1 image, which its mean omits: 7\n"
    assert json.loads((folder / "scores.json").read_text())["metrics"]["spice"] == 0.5
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    assert [row["spice"] for row in rows] == [0.5, None]
    assert all(row["bleu_1"] > 0 for row in rows)


def test_the_command_stops_spice_after_the_timeout_and_names_the_setting(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CAPTUNE_SPICE_TIMEOUT", "0.5")
    install_java(home, "time.sleep(60)")
    (home.parent / "c.json").write_text('{"1": "a dog"}')
    with pytest.raises(SystemExit) as stop:
        file = str(home.parent / "c.json")
        main(["score", "--references", file, "--predictions", file, "--metrics", "spice"])
    assert stop.value.code == 2
    errors = capsys.readouterr().err
    assert "SPICE did not finish in 0.5 s" in errors
    assert "set CAPTUNE_SPICE_TIMEOUT to more seconds" in errors
