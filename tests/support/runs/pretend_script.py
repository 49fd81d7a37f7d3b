"""Run captune on the pretend device, in a separate process that does one job per line of stdin.

A line is a JSON list: a key of `JOBS`, a folder, and a recipe as JSON. The answer is a line of JSON
and the line `ended`, which alone follows a job that failed.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

# Before captune is imported, as its functions are decorated with it: a tensor subclass that holds
# another tensor cannot be created in inference mode.
torch.inference_mode = torch.no_grad


def train_once(folder: Path, settings: str) -> dict[str, Any]:
    """Return losses of a training without dropout, and captions; on the CPU or without float64.

    A training in an existing folder is resumed.
    """
    from captune.data import make_shapes
    from captune.inference import caption_images
    from captune.models import build_captioner
    from captune.recipe import Recipe
    from captune.training import train
    from support.pretend_device import pretend_device

    recipe = Recipe.model_validate_json(settings)
    records = list(make_shapes(12, seed=3, image_size=64))
    captions = [caption for record in records for caption in record.captions]
    captioner = build_captioner(recipe.model, captions, seed=recipe.seed)
    for module in captioner.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    device = pretend_device()
    if recipe.train.device != "cpu":
        device.start(has_float64=False)
    resume = folder.is_dir()
    device.random_state.fill_(9 if resume else 7)
    lines: list[str] = []
    train(
        captioner,
        (records[:8], records[8:]),
        recipe=recipe,
        run_folder=folder,
        resume=resume,
        say=lines.append,
    )
    found = caption_images(
        captioner,
        [(record.image_id, record.image) for record in records[:3]],
        config=recipe.generate,
    )
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {
        "losses": [row["loss"] for row in log if "loss" in row],
        "val_losses": [row["val_loss"] for row in log if "val_loss" in row],
        "captions": [prediction.caption for prediction in found],
        "device": captioner.device.type,
        "random_state": device.random_state.unique().tolist(),
        "waits": dict(device.counts.waits),
        "lines": lines,
    }


def count_by_stage(folder: Path, settings: str) -> dict[str, dict[int, int]]:
    """Count fused attention by number of queries, per stage and in a loaded model."""
    import captune
    from captune.recipe import Recipe
    from support.pretend_device import pretend_device

    recipe = Recipe.model_validate_json(settings)
    device = pretend_device()
    device.start()
    counts = {}

    def count(name: str) -> None:
        counts[name] = dict(Counter(shape[-2] for shape in device.counts.attentions))
        device.counts.attentions.clear()

    for stage in ("prepare", "baseline", "train", "evaluate"):
        captune.run(recipe, only=[stage], out=folder, say=lambda _: None)
        count(stage)
    image = torch.zeros(64, 64, 3, dtype=torch.uint8).numpy()
    from PIL import Image

    captune.load(folder / "model").caption(Image.fromarray(image))
    count("load")
    return counts


def count_waits(folder: Path, settings: str) -> dict[str, float]:
    """Return waits for the device per optimizer step, by line: a longer run minus a shorter one."""
    from captune.data import make_shapes
    from captune.models import build_captioner
    from captune.recipe import Recipe
    from captune.training import train
    from support.pretend_device import pretend_device

    recipe = Recipe.model_validate_json(settings)
    records = list(make_shapes(12, seed=3, image_size=64))
    captions = [caption for record in records for caption in record.captions]
    device = pretend_device()
    device.start()
    found = []
    for steps in (2, 6):
        device.counts.waits.clear()
        changes = {"max_steps": steps, "validate_every": 99, "save_every": 99}
        longer = recipe.model_copy(update={"train": recipe.train.model_copy(update=changes)})
        captioner = build_captioner(recipe.model, captions, seed=recipe.seed)
        train(
            captioner,
            (records[:8], records[8:]),
            recipe=longer,
            run_folder=folder / str(steps),
            say=lambda _: None,
        )
        found.append(device.counts.waits.copy())
    return {place: count / 4 for place, count in (found[1] - found[0]).items()}


class AsUsual:
    """A recorder whose replays run the work as usual."""

    def warm_up(self, work: Callable[[], None]) -> None:
        """Run the work."""
        work()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Return the work."""
        return work

    def fetch(self, tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
        """Copy the tensor to the CPU without waiting."""
        copied = tensor.to("cpu", non_blocking=True)
        return lambda: copied


def count_caption_waits(folder: Path, settings: str) -> dict[str, Any]:
    """Return the captions of images, the steps after their first token, and the waits in these."""
    from captune.inference.decoding.decode import plan_search
    from captune.inference.decoding.replayed.search import ReplayedSearch
    from captune.inference.decoding.running import RunningSearch
    from captune.models import fast_text
    from captune.recipe import Recipe
    from support.models.wild_models import noise_images, wild_captioner
    from support.pretend_device import pretend_device

    recipe = Recipe.model_validate_json(settings)
    captioner = wild_captioner(str(recipe.model.size))
    states = captioner.encode(noise_images(6)).detach()
    task = plan_search(captioner, list("abcdef"), config=recipe.generate)

    def caption(running: Any, states: torch.Tensor) -> tuple[dict[int, Any], int]:
        found, steps = dict(running.add(task.image_ids, states)), 0
        device.counts.waits.clear()
        while running.num_running:
            found |= dict(running.step())
            steps += 1
        return {number: found[number].token_ids for number in range(6)}, steps

    device = pretend_device()
    with torch.no_grad():
        expected, _ = caption(RunningSearch(fast_text(captioner, torch.float32), task), states)
        device.start(has_float64=False)
        captioner.move_to(torch.device("pretend", 0))
        backend = fast_text(captioner, torch.float32)
        search = ReplayedSearch(backend, task, recorder=AsUsual())
        found, steps = caption(search, states.to("pretend"))
    return {"same": found == expected, "steps": steps, "waits": dict(device.counts.waits)}


def find_allowed(folder: Path, settings: str) -> list[str]:
    """Return what the device does although accelerators refuse it, and where it counts wrong."""
    from support.pretend_device import MixedDevicesError, pretend_device

    device = pretend_device()
    device.start(has_float64=False)
    ours, theirs = torch.ones(3, device="pretend"), torch.ones(3)
    refused: dict[str, tuple[Callable[[], object], type[Exception]]] = {
        "sum": (lambda: ours + theirs, MixedDevicesError),
        "linear": (lambda: torch.nn.functional.linear(ours, torch.ones(2, 3)), MixedDevicesError),
        "zeros": (lambda: torch.zeros(2, dtype=torch.float64, device="pretend"), TypeError),
        "move": (lambda: theirs.double().to("pretend"), TypeError),
        "double": (ours.double, TypeError),
    }
    found = []
    if (ours + 1).sum().item() != 6.0 or sum(device.counts.waits.values()) != 1:
        found.append("waits")
    if (ours * torch.tensor(2.0)).tolist() != [2.0, 2.0, 2.0]:
        found.append("numbers")
    for name, (work, error) in refused.items():
        try:
            work()
        except error:
            continue
        found.append(name)
    return found


JOBS: dict[str, Callable[[Path, str], Any]] = {
    "train": train_once,
    "stages": count_by_stage,
    "waits": count_waits,
    "caption-waits": count_caption_waits,
    "allowed": find_allowed,
}


def serve() -> None:
    """Do each job in a fork, so that it finds nothing that another has left."""
    for name in ("captune.data", "captune.training", "captune.pipeline"):
        importlib.import_module(name)
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            answer(*json.loads(line))
        os.waitpid(process, 0)
        sys.stdout.write("ended\n")
        sys.stdout.flush()


def answer(job: str, folder: str, settings: str) -> None:
    """Do one job, and end this process."""
    code = 1
    try:
        sys.stdout.write("\n" + json.dumps(JOBS[job](Path(folder), settings)) + "\n")
        code = 0
    finally:
        if code:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
