"""Compiled graphs are kept between processes, and never used for other weights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from captune.inference.exported import graphs
from captune.inference.exported.folder import GRAPH_FILES, ExportedModel
from captune.inference.exported.graphs import compile_graphs
from captune.inference.exported.image_levels import ImageRecipe
from captune.inference.exported.precisions import FP32


def write_doubling(folder: Path, factor: float) -> ExportedModel:
    """Write two graphs that multiply four numbers, and return a model with them."""
    import openvino as ov
    from openvino import opset13 as ops

    folder.mkdir(exist_ok=True)
    for name in GRAPH_FILES["openvino"]:
        given = ops.parameter([-1, 4], np.float32)
        # Weights, not a number that a graph holds in itself.
        weights = ops.constant(factor * np.eye(4, dtype=np.float32))
        graph = ov.Model([ops.matmul(given, weights, False, False)], [given])
        ov.save_model(graph, str(folder / name), compress_to_fp16=False)
    levels = np.zeros((3, 256), dtype=np.float32)
    image = ImageRecipe((4, 4), None, 2, None, levels)
    return ExportedModel(folder, "openvino", (), 1, 20, (), {}, 4, image, cleans_up=False)


def run(model: ExportedModel) -> npt.NDArray[np.float32]:
    ones = np.ones((2, 4), dtype=np.float32)
    (found,) = compile_graphs(model, precisions=FP32).open_vision()([ones])
    return found.copy()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAPTUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "openvino"


def test_a_compiled_graph_is_kept_and_used_again(tmp_path: Path, cache: Path) -> None:
    model = write_doubling(tmp_path / "model", 2.0)
    np.testing.assert_allclose(run(model), 2.0)
    kept = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert len(kept) == 2
    np.testing.assert_allclose(run(model), 2.0)
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == kept


def test_a_kept_graph_is_not_used_for_new_weights_at_the_same_place(tmp_path: Path) -> None:
    np.testing.assert_allclose(run(write_doubling(tmp_path / "model", 2.0)), 2.0)
    np.testing.assert_allclose(run(write_doubling(tmp_path / "model", 3.0)), 3.0)


def test_too_many_kept_graphs_lose_the_oldest(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(graphs, "_MAX_COMPILED", 3)
    cache.mkdir(parents=True)
    for age in range(4):
        (cache / f"{age}.blob").write_bytes(b"")
        os.utime(cache / f"{age}.blob", (1000 - age, 1000 - age))
    run(write_doubling(tmp_path / "model", 2.0))
    assert {"0.blob", "1.blob", "2.blob"} <= {path.name for path in cache.iterdir()}
    assert not (cache / "3.blob").exists()


def test_a_cache_folder_that_cannot_be_written_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CAPTUNE_CACHE", str(tmp_path / "file"))
    np.testing.assert_allclose(run(write_doubling(tmp_path / "model", 2.0)), 2.0)


def test_a_damaged_kept_graph_is_replaced(tmp_path: Path, cache: Path) -> None:
    model = write_doubling(tmp_path / "model", 2.0)
    run(model)
    for path in cache.iterdir():
        path.chmod(0o600)
        path.write_bytes(b"damaged")
    np.testing.assert_allclose(run(model), 2.0)


def test_openvino_is_imported_without_its_converter_which_stays_importable() -> None:
    script = (
        "import sys\nfrom captune.software import import_openvino\nimport_openvino().Core()\n"
        "assert 'openvino.tools.ovc' not in sys.modules\n"
        "from openvino.tools.ovc import convert_model\nassert callable(convert_model)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_converters_are_imported_without_what_reports_to_their_makers(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom captune.software import import_without_telemetry as load\n"
        "converter, nncf = load('openvino.tools.ovc'), load('nncf')\n"
        "assert callable(converter.convert_model) and callable(nncf.quantize)\n"
        "assert converter.telemetry_utils.tm.__name__ == 'openvino.tools.ovc.telemetry_stub'\n"
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry')]\n"
        "import torch\nconverter.convert_model(torch.nn.ReLU(), example_input=torch.ones(1))\n"
    )
    environment = os.environ | {"HOME": str(tmp_path), "CI": ""}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    # The id of the user would be in a folder of the home folder.
    assert [path.name for path in tmp_path.iterdir() if "intel" in path.name.lower()] == []


def test_inputs_that_were_copied_stay_until_the_graph_has_read_them() -> None:
    import openvino as ov
    from openvino import opset13 as ops

    both = [ops.parameter([-1, 1], np.int64) for _ in range(2)]
    compiled = ov.Core().compile_model(ov.Model([ops.add(*both)], both), "CPU")
    others: list[npt.NDArray[np.int64]] = []

    class Request:
        """A request that runs while another thread allocates arrays of the inputs' size."""

        def __init__(self) -> None:
            self._own = compiled.create_infer_request()
            self.set_input_tensor = self._own.set_input_tensor
            self.get_output_tensor = self._own.get_output_tensor

        def infer(self) -> None:
            others.extend(np.full((4, 1), 77, dtype=np.int64) for _ in range(50))
            self._own.infer()

    graph = graphs._OpenVinoGraph(compiled)
    graph._request = Request()
    # Read-only, so that it is copied.
    numbers = np.broadcast_to(np.arange(4, dtype=np.int64)[:, None], (4, 1))
    (found,) = graph([numbers, np.zeros((4, 1), dtype=np.int64)])
    assert found[:, 0].tolist() == [0, 1, 2, 3]
