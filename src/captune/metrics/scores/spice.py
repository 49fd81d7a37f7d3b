"""SPICE with the user's own jars, in a separate process: captune ships none of them (AGPL and GPL).

The jars are in the pycocoevalcap wheel (extra `java`), except Stanford CoreNLP's, which its authors
publish; or all are in the folder given by CAPTUNE_SPICE_HOME.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from captune.errors import EnvironmentValueError, MetricError, MissingExtraError
from captune.metrics.counting.candidates import Candidates, name_ids
from captune.metrics.results import Floats, MetricColumn, mean_column
from captune.software import read_java_version
from captune.storage import read_folder, read_seconds
from captune.suggest import format_count

DEFAULT_MEMORY = "8g"
"""Java heap; CAPTUNE_SPICE_MEMORY overrides it."""

DEFAULT_TIMEOUT = 7200.0
"""Seconds after which SPICE is stopped; CAPTUNE_SPICE_TIMEOUT overrides it."""

CORENLP_JARS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")

CORENLP_ARCHIVE = "nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip"

OPENED = ("lang", "math", "util", "util.concurrent", "net", "text")
"""Packages that SPICE's serialization accesses, and that Java 16 and later close."""


def score_spice(candidates: Candidates) -> dict[str, MetricColumn]:
    """Return SPICE, 0..1: F of the objects, attributes and relations that captions state.

    Images without a SPICE score are omitted from the mean, and a warning names them.

    Raises:
        MissingExtraError: Java or a jar is missing.
        MetricError: SPICE failed, ran out of time, or skipped images.

    Source: Anderson et al. 2016, SPICE.
    """
    java, jar = find_spice()
    with tempfile.TemporaryDirectory(prefix="captune-spice-") as folder:
        values = _run(candidates, java=java, jar=jar, folder=Path(folder))
    lost = np.flatnonzero(np.isnan(values))
    if len(lost):
        ids = [candidates.references.image_ids[candidates.images[place]] for place in lost]
        warnings.warn(
            f"SPICE has no score for {format_count(len(lost), 'image')}, which its mean omits:"
            f" {name_ids(ids)}",
            UserWarning,
            stacklevel=2,
        )
    return {"spice": mean_column(values, variant=f"variant:{jar.stem}")}


def find_spice() -> tuple[str, Path]:
    """Return the Java program and SPICE's jar.

    Raises:
        MissingExtraError: Java or a jar is missing; the error says which and how to get it.
    """
    java = shutil.which("java")
    if java is None:
        raise MissingExtraError(
            "SPICE needs Java, and there is no java in PATH",
            fix="install a Java runtime (8 or newer), then: pip install 'captune[java]'",
        )
    home = _find_home()
    jars = sorted(home.glob("spice-*.jar")) if home else []
    if home is None or not jars:
        raise MissingExtraError(
            "SPICE's jar is missing" + (f": no spice-*.jar in {home}" if home else ""),
            fix="pip install 'captune[java]', or set CAPTUNE_SPICE_HOME to the folder of the jar",
        )
    absent = [name for name in CORENLP_JARS if not (home / "lib" / name).exists()]
    if absent:
        raise MissingExtraError(
            f"SPICE needs Stanford CoreNLP 3.6.0; missing: {' and '.join(absent)}",
            where=str(home / "lib"),
            fix=f"put {' and '.join(absent)} into {home / 'lib'}: {_where_from()}",
        )
    return java, jars[-1]


def _where_from() -> str:
    """Return where to get CoreNLP's jars; the wheel's program installs them only in the wheel."""
    archive = f"both are in {CORENLP_ARCHIVE}"
    if os.environ.get("CAPTUNE_SPICE_HOME"):
        return archive
    return f"python -m pycocoevalcap.spice.get_stanford_models does so; {archive}"


def _find_home() -> Path | None:
    given = read_folder("CAPTUNE_SPICE_HOME")
    if given is not None:
        return given
    spec = find_spec("pycocoevalcap")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "spice"


def _run(candidates: Candidates, *, java: str, jar: Path, folder: Path) -> Floats:
    references, starts = candidates.references, candidates.references.first_caption
    rows = []
    for place, (image, tokens) in enumerate(
        zip(candidates.images.tolist(), candidates.tokens, strict=True)
    ):
        first = int(starts[image])
        own = references.tokens[first : first + len(references.captions[image])]
        # The index replaces the id, which may be any text.
        rows.append({"image_id": place, "test": " ".join(tokens), "refs": [*map(" ".join, own)]})
    (folder / "in.json").write_text(json.dumps(rows), encoding="utf-8")
    (folder / "parses").mkdir()
    command = [
        *(java, *_open_modules(java), f"-Xmx{_read_memory()}", "-jar", str(jar)),
        *(str(folder / "in.json"), "-cache", str(folder / "parses")),
        *("-out", str(folder / "out.json"), "-subset", "-silent"),
    ]
    _wait_for(command, folder)
    return _read_scores(folder / "out.json", len(rows))


def _open_modules(java: str) -> list[str]:
    try:
        printed = read_java_version(java, seconds=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    version = re.search(r'version "(?:1\.)?(\d+)', printed)
    if version is None or int(version[1]) < 9:
        return []
    opened = [f"java.base/java.{name}=ALL-UNNAMED" for name in OPENED]
    return [part for name in opened for part in ("--add-opens", name)]


def _read_memory() -> str:
    memory = os.environ.get("CAPTUNE_SPICE_MEMORY") or DEFAULT_MEMORY
    if re.fullmatch(r"[0-9]+[kKmMgG]?", memory) is None:
        raise EnvironmentValueError(
            f"the environment variable CAPTUNE_SPICE_MEMORY is {memory!r}",
            where="CAPTUNE_SPICE_MEMORY",
            fix="set it to the size of Java's heap, such as 4g or 6000m; or unset it",
        )
    return memory


def _wait_for(command: list[str], folder: Path) -> None:
    timeout = read_seconds("CAPTUNE_SPICE_TIMEOUT", DEFAULT_TIMEOUT)
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            cwd=folder,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MetricError(
            f"SPICE did not finish in {timeout:g} s",
            fix="set CAPTUNE_SPICE_TIMEOUT to more seconds, or remove spice from the metrics",
        ) from error
    except OSError as error:
        raise MetricError(
            f"{command[0]} does not start: {error.strerror}", fix="check the Java runtime"
        ) from error
    if done.returncode or not (folder / "out.json").exists():
        # In a Java trace, only the exceptions help users; the call sites do not.
        reasons = [
            line.strip()
            for line in (done.stderr + done.stdout).splitlines()
            if line.strip() and not line.startswith("\t")
        ]
        memory = "OutOfMemory" in done.stderr + done.stdout
        raise MetricError(
            f"SPICE failed with exit code {done.returncode}: {' / '.join(reasons[-3:])[-500:]}",
            fix="set CAPTUNE_SPICE_MEMORY to a larger heap"
            if memory
            else "check Java and the jars, or remove spice from the metrics",
        )


def _read_scores(path: Path, count: int) -> Floats:
    values = np.full(count, np.nan)
    try:
        items: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        found = {int(item["image_id"]): float(item["scores"]["All"]["f"]) for item in items}
    except (ValueError, KeyError, TypeError) as error:
        raise MetricError(
            f"SPICE's output cannot be read: {error}",
            fix="remove spice from the metrics, or check the Java program",
        ) from error
    absent = [place for place in range(count) if place not in found]
    if absent:
        raise MetricError(
            f"SPICE gave {format_count(len(found), 'score')} for {format_count(count, 'image')}",
            fix="remove spice from the metrics, or check the Java program",
        )
    for place, value in found.items():
        values[place] = value
    return values
