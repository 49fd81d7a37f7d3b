"""The shipped notebooks run from top to bottom on tiny data, and have no outputs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient import NotebookClient

from support.runs import layouts

ROOT = Path(__file__).parent.parent

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SHORT = ["generate.max_new_tokens=8", "evaluate.bootstrap_samples=100", "train.max_steps=2"]
BLIP = "Salesforce/blip-image-captioning-base"


def lay_out(name: str, folder: Path) -> None:
    """Write small data and tiny models to the folder, under the names in the notebook."""
    if name == "1_pokemon_git":
        layouts.write_parquet(folder / "lambdalabs/naruto-blip-captions", 40)
        layouts.save_captioner(folder / "microsoft/git-base", "git-tiny")
    elif name == "2_football_blip":
        layouts.write_parquet(folder / "ybelkada/football-dataset", 6)
        layouts.save_captioner(folder / BLIP, "blip-tiny")
    elif name == "3_flickr8k_blip":
        cached = folder / "kaggle/datasets/adityajn105/flickr8k"
        layouts.write_kaggle_flickr8k(cached / "versions/1", 20)
        (cached / "1.complete").touch()
        layouts.save_captioner(folder / BLIP, "blip-tiny")
    elif name == "4_hephaestus_blip_large":
        layouts.write_hephaestus(folder / "hephaestus", 6, parts=4)
        layouts.save_captioner(folder / "blip-image-captioning-large", "blip-tiny")
        layouts.save_bert(folder / "bert-base-uncased")
    elif name == "5_coco_swin_gpt2":
        encoder, decoder = layouts.save_pair(folder / "pair")
        layouts.write_karpathy_coco(folder / "coco", 36)
        (folder / "microsoft").mkdir()
        encoder.rename(folder / "microsoft/swin-base-patch4-window7-224-in22k")
        decoder.rename(folder / "gpt2")
    else:
        layouts.write_sidecars(folder / "my-pictures", 20)
        layouts.save_captioner(folder / BLIP, "blip-tiny")


def test_there_are_six_notebooks_one_per_system_and_one_for_own_images() -> None:
    assert len(NOTEBOOKS) == 6


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_no_outputs(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells if is_code(cell))


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


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_samples_curves_and_captions(
    path: Path, tmp_path: Path, kernel: AsyncKernelManager
) -> None:
    lay_out(path.stem, tmp_path)
    notebook = nbformat.read(path, as_version=4)
    (parameters,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    # The shipped settings, but with little work.
    parameters.source += f"\nSETTINGS += {SHORT!r}\n"
    notebook.cells.insert(0, forget_cell(tmp_path))
    NotebookClient(notebook, km=kernel, timeout=500).execute()
    shown = [o for c in notebook.cells if is_code(c) for o in c.outputs]
    pictures = [o for o in shown if "image/png" in o.get("data", {})]
    # The contact sheet, the losses, before and after, and the captions.
    assert len(pictures) == 4
    text = "".join(o.text for o in shown if o.output_type == "stream")
    assert "cider" in text
    assert " -> " in text
    assert any("application/vnd.jupyter.widget-view+json" in o.get("data", {}) for o in shown)


def is_code(cell: nbformat.NotebookNode) -> bool:
    return bool(cell.cell_type == "code")
