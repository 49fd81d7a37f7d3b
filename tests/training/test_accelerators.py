"""Behaviour that differs on accelerators, tested on a pretend device that holds CPU values."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from support.runs import script_environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"),
        reason="this torch has no backends in Python",
    ),
]

# Tokens of an image, its encoder's layers, and all layers that attend to the image's tokens when it
# is captioned: GIT's text layers do too, all but the last, which needs their keys only.
IMAGE_LAYERS = {"vit-gpt2-tiny": (65, 3, 3), "blip-tiny": (17, 3, 3), "git-tiny": (65, 2, 4)}


Job = Callable[[str, Path, Any], Any]


@pytest.fixture(scope="module")
def on_device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """Return a function that does a job on the device, in a fork of one process."""
    errors = tmp_path_factory.mktemp("device") / "errors"
    with errors.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "support.runs.pretend_script"],
            env=script_environment(OMP_NUM_THREADS="1"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        )
    asked, answered = process.stdin, process.stdout
    assert asked is not None
    assert answered is not None

    def run(job: str, folder: Path, recipe: Any) -> Any:
        asked.write(json.dumps([job, str(folder), recipe.model_dump_json()]) + "\n")
        asked.flush()
        lines = [""]
        while lines[-1] != "ended\n":
            lines.append(answered.readline())
            assert lines[-1], errors.read_text()[-3000:]
        *_, found, _ = lines
        assert found.startswith(("{", "[")), errors.read_text()[-3000:]
        return json.loads(found)

    yield run
    process.communicate(timeout=60)


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    return {
        "model__size": "vit-gpt2-tiny",
        "data__views": ["original"],
        "train__epochs": 3,
        "train__validate_every": 3,
        "train__save_every": 1,
        "generate__num_beams": 2,
        "generate__max_new_tokens": 5,
    }


@pytest.fixture(scope="module")
def on_cpu(make_recipe, settings, on_device, tmp_path_factory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("cpu") / "run"
    return on_device("train", folder, make_recipe(**settings))


@pytest.mark.parametrize("engine", ["loop", "trainer"])
def test_a_device_without_float64_trains_to_the_losses_of_the_cpu_and_resumes(
    engine, make_recipe, settings, *, on_device, on_cpu, tmp_path
) -> None:
    recipe = make_recipe(train__engine=engine, train__device="pretend", **settings)
    folder = tmp_path / "run"
    found = on_device("train", folder, recipe)
    assert found["device"] == "pretend"
    assert len(found["losses"]) == 3
    assert found["losses"] == pytest.approx(on_cpu["losses"], abs=1e-5)
    assert found["val_losses"] == pytest.approx(on_cpu["val_losses"], abs=1e-5)
    assert found["captions"] == on_cpu["captions"]
    shutil.rmtree(folder / "checkpoints" / "step-000003")
    resumed = on_device("train", folder, recipe)
    assert "resumed at step 2 of 3" in resumed["lines"]
    assert resumed["losses"] == pytest.approx(found["losses"], abs=1e-5)
    # The state of the device when the checkpoint was written.
    assert resumed["random_state"] == [7]


@pytest.mark.parametrize("size", sorted(IMAGE_LAYERS))
def test_every_use_of_a_model_on_an_accelerator_fuses_attention_in_every_layer(
    size, make_recipe, settings, on_device, tmp_path
) -> None:
    recipe = make_recipe(
        train__device="pretend",
        data__path="shapes:12",
        **{**settings, "train__epochs": 1, "model__size": size},
    )
    num_tokens, encoder_layers, all_layers = IMAGE_LAYERS[size]
    found = on_device("stages", tmp_path / "run", recipe)
    counts = {use: lengths.get(str(num_tokens), 0) for use, lengths in found.items()}
    assert counts["prepare"] == 0
    assert counts["train"] >= all_layers
    assert counts["train"] % encoder_layers == 0
    for use in ("baseline", "evaluate", "load"):
        assert counts[use] >= all_layers, use
        assert counts[use] % all_layers == 0, use


@pytest.mark.parametrize("size", ["vit-gpt2-tiny", "blip-tiny", "git-tiny"])
def test_a_step_of_two_micro_batches_waits_once_for_the_device(
    size, make_recipe, on_device, tmp_path
) -> None:
    recipe = make_recipe(
        model__size=size,
        train__device="pretend",
        train__micro_batch_size=2,
        train__global_batch_size=4,
        train__epochs=5,
    )
    assert sum(on_device("waits", tmp_path, recipe).values()) == 1.0


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("size", ["blip-tiny", "git-tiny", "vit-gpt2-tiny", "vit-bert-tiny"])
def test_replayed_captioning_never_waits_for_the_device_between_tokens(
    size, num_beams, make_recipe, on_device, tmp_path
) -> None:
    recipe = make_recipe(
        model__size=size,
        generate__num_beams=num_beams,
        generate__max_new_tokens=20,
        generate__min_new_tokens=20,
        generate__repetition_penalty=1.2,
        generate__no_repeat_ngram_size=4,
    )
    found = on_device("caption-waits", tmp_path, recipe)
    assert found["same"]
    assert found["steps"] == 19
    assert sum(found["waits"].values()) == 0, found["waits"]


def test_the_pretend_device_refuses_the_operations_that_accelerators_refuse(
    make_recipe, on_device, tmp_path
) -> None:
    assert on_device("allowed", tmp_path, make_recipe()) == []
