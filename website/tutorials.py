"""A notebook as a page of the site: its text, its code and its stored outputs."""

from __future__ import annotations

import base64
import html
import re
from pathlib import Path
from typing import Any

import nbformat


def write_page(notebook: Path, folder: Path) -> Path:
    """Write a notebook as Markdown, its pictures beside it, and return the page."""
    cells = nbformat.read(notebook, as_version=4).cells
    pictures = folder / f"{notebook.stem}_files"
    parts: list[str] = []
    for cell in cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source.rstrip()}\n```")
        parts += [
            text for output in cell.outputs if (text := _output(output, pictures, len(parts)))
        ]
    page = folder / f"{notebook.stem}.md"
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return page


def _output(output: Any, pictures: Path, number: int) -> str:
    if output.output_type == "stream":
        return _as_text(output.text)
    data = output.get("data", {})
    for kind, suffix in (("image/png", "png"), ("image/jpeg", "jpg")):
        if kind in data:
            pictures.mkdir(exist_ok=True)
            file = pictures / f"{number}.{suffix}"
            file.write_bytes(base64.b64decode(data[kind]))
            return f"![Output of the cell above]({pictures.name}/{file.name})"
    if frame := re.search(r'<iframe srcdoc="([^"]*)"', data.get("text/html", "")):
        pictures.mkdir(exist_ok=True)
        file = pictures / f"{number}.html"
        file.write_text(html.unescape(frame[1]), encoding="utf-8")
        place = f"{pictures.name}/{file.name}"
        return f'<iframe src="{place}" title="Report" width="100%" height="640"></iframe>'
    if "application/vnd.jupyter.widget-view+json" in data:
        return "*(Here a running notebook shows the widget.)*"
    return _as_text(data.get("text/plain", ""))


def _as_text(text: str) -> str:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text).strip("\n")
    # A longer fence, because an output may contain one.
    return f"````text\n{plain}\n````" if plain.strip() else ""
