"""Self-contained HTML pages: style, script and pictures are inside, and nothing is fetched.

All text is escaped and cleaned here. A content security policy adds a second barrier: only this
package's script runs, identified by its hash, and the page sends no requests.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from captune.storage import write_text
from captune.text_safety import clean_text

_TEMPLATES = ("page.html", "report.html", "comparison.html", "parts.html")


def write_page(
    path: Path,
    template: str,
    *,
    content: object,
    more_templates: Mapping[str, str] | None = None,
) -> None:
    """Render a template into one HTML file, written atomically.

    Args:
        path: The file.
        template: Name of a template in this package, or of one of the further ones.
        content: The data that the template reads as `page`.
        more_templates: Name -> text of templates of other packages.

    Raises:
        OutputError: The file cannot be written.
    """
    write_text(path, render_page(template, content=content, more_templates=more_templates))


def render_page(
    template: str, *, content: object, more_templates: Mapping[str, str] | None = None
) -> str:
    """Return a rendered template as HTML text; everything that is not `Markup` is escaped."""
    script, style = _read("report.js"), _read("report.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline';"
        f" script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    environment = _environment()
    if more_templates:
        environment = environment.overlay(loader=DictLoader({**_templates(), **more_templates}))
    return environment.get_template(template).render(
        page=content, script=Markup(script), style=Markup(style), policy=policy
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=DictLoader(_templates()),
        autoescape=True,
        finalize=_clean,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _templates() -> dict[str, str]:
    return {name: _read(name) for name in _TEMPLATES}


def _clean(value: object) -> object:
    """Remove control characters, which escaping keeps, from all text except the page's markup."""
    return clean_text(value) if type(value) is str else value


def _read(name: str) -> str:
    return (files("captune.evaluation.report") / name).read_text(encoding="utf-8")
