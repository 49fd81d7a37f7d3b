"""Self-contained HTML pages: style, script and pictures are inside, and nothing is fetched.

All text is escaped and cleaned here. A content security policy adds a second barrier: only this
package's script runs, identified by its hash, and the page sends no requests. A page with a folder
beside it also shows that folder's pictures, and its script may load that folder's list of them.
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

_TEMPLATES = (
    "page.html",
    "report.html",
    "comparison.html",
    "parts.html",
    "scores.html",
    "evidence.html",
    "gallery.html",
)
_STYLES = ("base", "verdict", "evidence", "scores", "charts", "gallery", "print")
_SCRIPTS = ("theme", "charts", "captions", "filter", "gallery", "lightbox", "copy", "vote")


def write_page(
    path: Path,
    template: str,
    *,
    content: object,
    more_templates: Mapping[str, str] | None = None,
    has_files: bool = False,
) -> None:
    """Render a template into one HTML file, written atomically.

    Args:
        path: The file.
        template: Name of a template in this package, or of one of the further ones.
        content: The data that the template reads as `page`.
        more_templates: Name -> text of templates, styles (`.css`) and scripts (`.js`) of other
            packages; styles and scripts follow those of this one.
        has_files: Whether the page loads pictures and their list from a folder beside it.

    Raises:
        OutputError: The file cannot be written.
    """
    text = render_page(
        template, content=content, more_templates=more_templates, has_files=has_files
    )
    write_text(path, text)


def render_page(
    template: str,
    *,
    content: object,
    more_templates: Mapping[str, str] | None = None,
    has_files: bool = False,
) -> str:
    """Return a rendered template as HTML text; everything that is not `Markup` is escaped."""
    script = "".join(_read(f"script/{name}.js") for name in _SCRIPTS)
    style = "".join(_read(f"style/{name}.css") for name in _STYLES)
    for name, text in (more_templates or {}).items():
        script += text if name.endswith(".js") else ""
        style += text if name.endswith(".css") else ""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # Browsers load a script file for a script that they trust; by hash, they refuse it for files.
    pictures, scripts = (" 'self' file:", " 'strict-dynamic'") if has_files else ("", "")
    policy = (
        f"default-src 'none'; img-src data: blob:{pictures}; style-src 'unsafe-inline';"
        f" script-src 'sha256-{digest}'{scripts}; base-uri 'none'; form-action 'none'"
    )
    environment = _environment()
    if more_templates:
        environment = environment.overlay(loader=DictLoader({**_templates(), **more_templates}))
    return environment.get_template(template).render(
        page=content, script=Markup(script), style=Markup(style), policy=policy
    )


def keep_lines(text: str) -> Markup:
    """Return escaped text that keeps its line breaks, which are cleaned away from other text."""
    return Markup("\n").join(clean_text(line) for line in text.split("\n"))


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
    return {name: _read(f"templates/{name}") for name in _TEMPLATES}


def _clean(value: object) -> object:
    """Remove control characters, which escaping keeps, from all text except the page's markup."""
    return clean_text(value) if type(value) is str else value


def _read(name: str) -> str:
    return (files("captune.evaluation.report") / name).read_text(encoding="utf-8")
