"""The conditions under which figures were produced: machine, versions, command."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from captune.evaluation.report.facts import Fact
from captune.software import installed_version
from captune.suggest import name_program, quote_words

if TYPE_CHECKING:
    from captune.evaluation.caption_models import CaptionedImages

_PLAIN_NAMES = ("model", "baseline")
_PACKAGES = ("captune", "torch", "transformers")


def evaluation_facts(
    models: Mapping[str, str], captioned: CaptionedImages, *, data: str
) -> list[Fact]:
    """Return the facts that `captune evaluate` and `captune compare` report.

    Args:
        models: Name -> source of the model.
        captioned: Captions of the models, with hardware and times.
        data: The data set and split.
    """
    facts = [command_fact(sys.argv), Fact("Data", data)]
    for name, source in models.items():
        is_plain = name in _PLAIN_NAMES
        shown = source if is_plain or name == source else f"{name}: {source}"
        time = describe_seconds(captioned.seconds[name])
        label = name.capitalize() if is_plain else "Model"
        facts.append(Fact(label, f"{shown} (captioned in {time})"))
    return [*facts, Fact("Hardware", captioned.hardware), *software_facts()]


def software_facts() -> list[Fact]:
    """Return Python, operating system and the packages that affect captions, with versions."""
    facts = [
        Fact("Python", platform.python_version()),
        Fact("System", f"{platform.system()} {platform.machine()}"),
    ]
    return facts + [Fact(name, installed_version(name) or "not installed") for name in _PACKAGES]


def command_fact(words: Sequence[str]) -> Fact:
    """Return the command line, ready to run again; the program is named without its path.

    In a notebook the command line is that of the kernel, with a file that is gone after it.
    """
    shown = name_program(words)
    if shown and "kernel_launcher" in shown[0]:
        return Fact("Command", "captune.run in a notebook")
    return Fact("Command", quote_words(*shown), is_code=True)


def describe_seconds(seconds: float) -> str:
    """Return a duration as text: `48 s`, `17 min 41 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
