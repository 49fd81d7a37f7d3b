"""Write the notebooks and run them, so that their stored outputs are those of today's code.

    python website/notebooks.py           write and run all: minutes on two cores
    python website/notebooks.py 3_        only those whose name starts so

A notebook is made from a page in website/notebook_pages: its Python blocks become cells. They run
on the built-in data set and tiny models; the first cell shows the lines for real ones.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat

PAGES = Path(__file__).resolve().parent / "notebook_pages"
FOLDER = PAGES.parent.parent / "notebooks"
_CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def main() -> None:
    """Write the notebooks whose names start with one of the arguments."""
    chosen = sys.argv[1:] or [""]
    for name in sorted(path.stem for path in PAGES.glob("*.md")):
        if any(name.startswith(prefix) for prefix in chosen):
            write(name)
            print(f"notebooks/{name}.ipynb")


def build(name: str) -> nbformat.NotebookNode:
    """Return a notebook without outputs; the cell after its title has the tag `parameters`."""
    cells = []
    # Split at a group, every second part is code.
    parts = _CODE.split((PAGES / f"{name}.md").read_text(encoding="utf-8"))
    kinds = (nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell)
    sources = [(kinds[i % 2], part.strip()) for i, part in enumerate(parts) if part.strip()]
    for number, (make, source) in enumerate(sources):
        cell = make(source)
        # Random by default; with these, an unchanged notebook is an unchanged file.
        cell.id = f"cell-{number}"
        cells.append(cell)
    cells[1].metadata["tags"] = ["parameters"]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    return notebook


def write(name: str) -> None:
    """Run a notebook in an empty folder and write it with its outputs."""
    from nbclient import NotebookClient

    notebook = build(name)
    # Progress and warnings of libraries go to stderr, and depend on the machine.
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}}
        ).execute()
    tidy(notebook)
    nbformat.write(notebook, FOLDER / f"{name}.ipynb")


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Keep what cells print and return; drop progress bars, stderr, and times of the kernel."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        # Bars are `display_data`, whose widgets are ids without their state.
        kept = [o for o in cell.outputs if o.output_type != "display_data" or "demo" in cell.source]
        text = "".join(o.text for o in kept if o.get("name") == "stdout")
        values = [o for o in kept if o.output_type != "stream"]
        printed = [nbformat.v4.new_output("stream", name="stdout", text=text)] if text else []
        cell.outputs = printed + values
    notebook.metadata.pop("widgets", None)


if __name__ == "__main__":
    main()
