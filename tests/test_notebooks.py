"""The shipped notebooks run from top to bottom on tiny data, and are shipped without outputs."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(Path(__file__).parent / "systems"))
import layouts  # noqa: E402

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SHORT = ["generate.max_new_tokens=8", "evaluate.bootstrap_samples=100", "train.max_steps=2"]


def tiny(name: str, folder: Path) -> list[str]:
    """Settings that put small data and a tiny model in a recipe's place."""
    if name == "5_coco_swin_gpt2":
        encoder, decoder = layouts.save_pair(folder / "pair")
        data = layouts.write_karpathy_coco(folder / "set", 36)
        return [f"data.path={data}", f"model.encoder={encoder}", f"model.decoder={decoder}"]
    size = "git-tiny" if name == "1_pokemon_git" else "blip-tiny"
    model = layouts.save_captioner(folder / "model", size)
    data = {
        "1_pokemon_git": lambda: layouts.write_parquet(folder / "set", 40),
        "2_football_blip": lambda: layouts.write_parquet(folder / "set", 6),
        "3_flickr8k_blip": lambda: layouts.write_kaggle_flickr8k(folder / "set", 20),
        "4_hephaestus_blip_large": lambda: layouts.write_hephaestus(folder / "set", 6, parts=4),
        "6_your_own_images": lambda: layouts.write_sidecars(folder / "set", 20),
    }[name]()
    return [f"data.path={data}", f"model.checkpoint={model}"]


def test_there_are_six_one_a_system_and_one_for_your_own_images() -> None:
    assert len(NOTEBOOKS) == 6


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_shipped_without_outputs(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells if is_code(cell))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_samples_curves_and_captions(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    (parameters,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    settings = [*tiny(path.stem, tmp_path), *SHORT]
    if path.stem == "4_hephaestus_blip_large":
        settings.append("evaluate.metrics=[default]")
    parameters.source += f"\nSETTINGS = {settings!r}\n"
    NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [o for c in notebook.cells if is_code(c) for o in c.outputs]
    pictures = [o for o in shown if "image/png" in o.get("data", {})]
    # The contact sheet, the loss, before and after, the captions.
    assert len(pictures) == 4
    text = "".join(o.text for o in shown if o.output_type == "stream")
    assert "cider" in text
    assert " -> " in text
    assert any("application/vnd.jupyter.widget-view+json" in o.get("data", {}) for o in shown)


def is_code(cell: nbformat.NotebookNode) -> bool:
    return bool(cell.cell_type == "code")
