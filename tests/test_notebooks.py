"""The shipped notebooks: made from their pages, run from top to bottom, with current outputs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient import NotebookClient

from support.runs.recipe_data import lay_out

ROOT = Path(__file__).parent.parent

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SHORT = ["generate.max_new_tokens=8", "evaluate.bootstrap_samples=100", "train.max_steps=2"]
# The settings for real data that the first cell shows in a comment.
REAL = {
    "1_pokemon_git": [],
    "2_football_blip": [],
    "3_flickr8k_blip": [],
    "4_hephaestus_blip_large": [
        "data.path=hephaestus",
        "model.checkpoint=blip-image-captioning-large",
        "evaluate.bert_model=bert-base-uncased",
    ],
    "5_coco_swin_gpt2": ["train.log_every=1"],
    "6_your_own_images": ["data.path=my-pictures"],
}


def test_there_are_six_notebooks_one_per_system_and_one_for_own_images() -> None:
    assert len(NOTEBOOKS) == 6


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_made_from_its_page(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    page = (ROOT / "website" / "notebook_pages" / f"{path.stem}.md").read_text(encoding="utf-8")
    code = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert [cell.source for cell in notebook.cells if is_code(cell)] == [c.strip() for c in code]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs_are_those_of_one_run(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if is_code(cell)]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert len(outputs) >= 4
    assert all(output.output_type != "error" for output in outputs)
    # A path of the machine that ran it.
    assert not re.search(r"/(root|home|tmp|work|Users)/", path.read_text(encoding="utf-8"))


def test_no_two_notebooks_are_nearly_the_same() -> None:
    codes = {
        path.stem: {c.source for c in nbformat.read(path, as_version=4).cells if is_code(c)}
        for path in NOTEBOOKS
    }
    for first, second in combinations(codes, 2):
        assert len(codes[first] & codes[second]) <= 2, (first, second)


@pytest.fixture(scope="module")
def kernel() -> Iterator[AsyncKernelManager]:
    """One kernel for all, because importing torch and transformers takes longer than a notebook."""
    manager = AsyncKernelManager(kernel_name="python3")
    run_sync(manager.start_kernel)()
    yield manager
    run_sync(manager.shutdown_kernel)(now=True)


def forget_cell(folder: Path) -> nbformat.NotebookNode:
    """Return a cell that resets the kernel: no names, the folder, and the cache inside it."""
    return nbformat.v4.new_code_cell(
        f"%reset -f\nimport os\nos.chdir({str(folder)!r})\n"
        f"os.environ['KAGGLEHUB_CACHE'] = {str(folder / 'kaggle')!r}\ndel os"
    )


def run_notebook(
    path: Path, folder: Path, *, kernel: AsyncKernelManager, settings: str = ""
) -> nbformat.NotebookNode:
    """Run a notebook in a folder, with a line after its parameters; return it with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    (parameters,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    parameters.source += f"\n{settings}\n"
    notebook.cells.insert(0, forget_cell(folder))
    NotebookClient(notebook, km=kernel, timeout=500).execute()
    del notebook.cells[0]
    return notebook


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_with_the_data_of_its_recipe(
    path: Path, tmp_path: Path, kernel: AsyncKernelManager
) -> None:
    lay_out(path.stem, tmp_path)
    settings = f"SETTINGS = {[*REAL[path.stem], *SHORT]!r}"
    notebook = run_notebook(path, tmp_path, kernel=kernel, settings=settings)
    assert kinds_of_outputs(notebook) == kinds_of_outputs(nbformat.read(path, as_version=4))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_as_it_is_and_its_stored_outputs_have_the_same_kinds(
    path: Path, tmp_path: Path, kernel: AsyncKernelManager
) -> None:
    short = 'SETTINGS += ["train.max_steps=6", "evaluate.bootstrap_samples=100"]'
    notebook = run_notebook(path, tmp_path, kernel=kernel, settings=short)
    assert kinds_of_outputs(notebook) == kinds_of_outputs(nbformat.read(path, as_version=4))


def kinds_of_outputs(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """Return what each code cell shows: text, or the types of its value; not progress bars."""
    kinds = []
    for cell in filter(is_code, notebook.cells):
        found = {"text" for output in cell.outputs if output.get("name") == "stdout"}
        for output in cell.outputs:
            if output.output_type == "execute_result":
                found |= set(output.data)
        kinds.append(sorted(found))
    return kinds


def is_code(cell: nbformat.NotebookNode) -> bool:
    return bool(cell.cell_type == "code")
