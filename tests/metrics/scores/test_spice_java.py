"""SPICE's jars with real Java, as far as possible without Stanford CoreNLP."""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from captune.errors import MetricError, MissingExtraError
from captune.metrics import compute
from captune.metrics.scores.spice import CORENLP_JARS, OPENED, find_spice

_WHEEL = find_spec("pycocoevalcap")
HOME = Path(_WHEEL.submodule_search_locations[0]) / "spice" if _WHEEL else Path("none")
pytestmark = [
    pytest.mark.skipif(not HOME.is_dir(), reason="the extra java is not installed"),
    pytest.mark.skipif(shutil.which("javac") is None, reason="no Java compiler"),
]

STORE = """
import java.util.*;
public class Store {
    public static void main(String[] arguments) throws Exception {
        edu.anu.spice.LmdbTupleDB parses = new edu.anu.spice.LmdbTupleDB(arguments[0]);
        Map kept = new HashMap();
        kept.put("a dog", new ArrayList(Arrays.asList("dog")));
        parses.putTransaction(kept);
        System.out.println(parses.getTransaction(Arrays.asList("a dog")));
    }
}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the wheel's jars, with empty archives in place of CoreNLP's."""
    folder = tmp_path / "spice"
    shutil.copytree(HOME / "lib", folder / "lib", symlinks=True)
    shutil.copy(HOME / "spice-1.0.jar", folder)
    for name in CORENLP_JARS:
        # An empty archive: only its end record.
        (folder / "lib" / name).write_bytes(b"PK\x05\x06" + bytes(18))
    monkeypatch.setenv("CAPTUNE_SPICE_HOME", str(folder))
    monkeypatch.setenv("CAPTUNE_SPICE_MEMORY", "256m")
    return folder


def test_the_wheel_has_no_corenlp_and_the_error_states_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CAPTUNE_SPICE_HOME", raising=False)
    if all((HOME / "lib" / name).exists() for name in CORENLP_JARS):
        pytest.skip("CoreNLP is installed")
    with pytest.raises(MissingExtraError, match=r"Stanford CoreNLP 3\.6\.0") as caught:
        find_spice()
    assert "get_stanford_models" in caught.value.fix


def test_the_jar_accepts_captunes_call_and_lacks_only_corenlp(home: Path) -> None:
    with pytest.raises(MetricError, match="SPICE failed with exit code 1") as caught:
        compute({"1": ["a dog"]}, {"1": "a dog"}, metrics=["spice"])
    assert "edu.stanford.nlp" in caught.value.what


@pytest.mark.slow
def test_the_cache_of_parses_needs_all_opened_packages(home: Path, tmp_path: Path) -> None:
    (tmp_path / "Store.java").write_text(STORE)
    (tmp_path / "parses").mkdir()
    jars = f"{home}/lib/*:{home}/spice-1.0.jar:{tmp_path}"
    compiled = ["javac", "-nowarn", "-cp", jars, "-d", str(tmp_path), str(tmp_path / "Store.java")]
    subprocess.run(compiled, check=True, capture_output=True)
    runs = []
    for names in (OPENED, OPENED[:-1]):
        opened = [f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in names]
        command = ["java", *opened, "-cp", jars, "Store", str(tmp_path / "parses")]
        runs.append(subprocess.run(command, capture_output=True, text=True, check=False))
    assert runs[0].stdout.strip() == "{a dog=[dog]}"
    if (
        ' version "1.8'
        not in subprocess.run(
            ["java", "-version"], capture_output=True, text=True, check=True
        ).stderr
    ):
        assert "InaccessibleObjectException" in runs[1].stderr
