"""SPICE by the user's own jars, in a process of its own: captune ships none of it (AGPL and GPL).

The jars lie in the pycocoevalcap wheel (extra `java`), but for Stanford CoreNLP, which its authors
hand out; or in the folder that CAPTUNE_SPICE_HOME names.
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

from captune.errors import MetricError, MissingExtraError
from captune.metrics.counting.candidates import Candidates, name_ids
from captune.metrics.results import Floats, MetricColumn, mean_column

DEFAULT_MEMORY = "8g"
"""Java heap; CAPTUNE_SPICE_MEMORY overrides."""

DEFAULT_TIMEOUT = 7200.0
"""Seconds until SPICE is stopped; CAPTUNE_SPICE_TIMEOUT overrides."""

CORENLP_JARS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")

CORENLP_ARCHIVE = "nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip"

OPENED = ("lang", "math", "util", "util.concurrent", "net", "text")
"""Packages that SPICE's serialisation reaches into, and Java 16 and later close."""


def score_spice(candidates: Candidates) -> dict[str, MetricColumn]:
    """Score SPICE, 0..1: F of the objects, attributes and relations that captions state.

    Images that SPICE gives no number are left out of the mean, and a warning names them.

    Raises:
        MissingExtraError: Java or a jar is missing.
        MetricError: SPICE failed, ran out of time, or left images out.

    Source: Anderson et al. 2016, SPICE.
    """
    java, jar = find_spice()
    with tempfile.TemporaryDirectory(prefix="captune-spice-") as folder:
        values = _run(candidates, java=java, jar=jar, folder=Path(folder))
    lost = np.flatnonzero(np.isnan(values))
    if len(lost):
        ids = [candidates.references.image_ids[candidates.images[place]] for place in lost]
        warnings.warn(
            f"SPICE gives no number for {len(lost)} images, left out of its mean: {name_ids(ids)}",
            UserWarning,
            stacklevel=2,
        )
    return {"spice": mean_column(values, variant=f"variant:{jar.stem}")}


def find_spice() -> tuple[str, Path]:
    """The Java program and SPICE's jar.

    Raises:
        MissingExtraError: Java or a jar is missing; says which, and how to get it.
    """
    java = shutil.which("java")
    if java is None:
        raise MissingExtraError(
            "SPICE needs Java, and there is no java in PATH",
            fix="install a Java runtime (8 or newer), and: pip install 'captune[java]'",
        )
    home = _find_home()
    jars = sorted(home.glob("spice-*.jar")) if home else []
    if home is None or not jars:
        raise MissingExtraError(
            "SPICE's jar is not there" + (f": no spice-*.jar in {home}" if home else ""),
            fix="pip install 'captune[java]', or set CAPTUNE_SPICE_HOME to the folder of the jar",
        )
    absent = [name for name in CORENLP_JARS if not (home / "lib" / name).exists()]
    if absent:
        raise MissingExtraError(
            f"SPICE needs Stanford CoreNLP 3.6.0, and {' and '.join(absent)} not there",
            where=str(home / "lib"),
            fix=f"put {' and '.join(absent)} into {home / 'lib'}: {_where_from()}",
        )
    return java, jars[-1]


def _where_from() -> str:
    """Where CoreNLP's jars are had; the wheel's own program puts them beside the wheel only."""
    archive = f"both are in {CORENLP_ARCHIVE}"
    if os.environ.get("CAPTUNE_SPICE_HOME"):
        return archive
    return f"python -m pycocoevalcap.spice.get_stanford_models does so; {archive}"


def _find_home() -> Path | None:
    given = os.environ.get("CAPTUNE_SPICE_HOME")
    if given:
        return Path(given)
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
        # The place stands for the id, which may be any text.
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
        told = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    version = re.search(r'version "(?:1\.)?(\d+)', told.stderr + told.stdout)
    if version is None or int(version[1]) < 9:
        return []
    opened = [f"java.base/java.{name}=ALL-UNNAMED" for name in OPENED]
    return [part for name in opened for part in ("--add-opens", name)]


def _read_memory() -> str:
    memory = os.environ.get("CAPTUNE_SPICE_MEMORY", DEFAULT_MEMORY)
    if re.fullmatch(r"\d+[kKmMgG]?", memory) is None:
        raise MetricError(
            f"CAPTUNE_SPICE_MEMORY is {memory!r}", fix="give Java's heap, such as 4g or 6000m"
        )
    return memory


def _read_timeout() -> float:
    given = os.environ.get("CAPTUNE_SPICE_TIMEOUT")
    try:
        return DEFAULT_TIMEOUT if given is None else float(given)
    except ValueError as error:
        raise MetricError(
            f"CAPTUNE_SPICE_TIMEOUT is {given!r}", fix="give seconds, such as 7200"
        ) from error


def _wait_for(command: list[str], folder: Path) -> None:
    timeout = _read_timeout()
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
            fix="set CAPTUNE_SPICE_TIMEOUT to more seconds, or leave spice out of the metrics",
        ) from error
    except OSError as error:
        raise MetricError(
            f"{command[0]} does not start: {error.strerror}", fix="check the Java runtime"
        ) from error
    if done.returncode or not (folder / "out.json").exists():
        # The places in a Java trace say nothing to people; what was thrown does.
        said = [
            line.strip()
            for line in (done.stderr + done.stdout).splitlines()
            if line.strip() and not line.startswith("\t")
        ]
        memory = "OutOfMemory" in done.stderr + done.stdout
        raise MetricError(
            f"SPICE failed with exit code {done.returncode}: {' / '.join(said[-3:])[-500:]}",
            fix="set CAPTUNE_SPICE_MEMORY to more than it had"
            if memory
            else "run the command by hand to see more, or leave spice out of the metrics",
        )


def _read_scores(path: Path, count: int) -> Floats:
    values = np.full(count, np.nan)
    try:
        items: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        found = {int(item["image_id"]): float(item["scores"]["All"]["f"]) for item in items}
    except (ValueError, KeyError, TypeError) as error:
        raise MetricError(f"SPICE wrote what cannot be read: {error}") from error
    absent = [place for place in range(count) if place not in found]
    if absent:
        raise MetricError(f"SPICE gave {len(found)} scores for {count} images")
    for place, value in found.items():
        values[place] = value
    return values
