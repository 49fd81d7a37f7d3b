"""How preparing a run grows with the data set: seconds, images per second and memory.

    python benchmarks/scale.py measure 1000 10000 100000 [--folder /tmp/scale] [--keep]
    python benchmarks/scale.py make 100000 /tmp/scale/100000

`make` writes COUNT photographs of 64 x 48 pixels, all different, in folders of 1,000, and
`captions.jsonl` with two captions each. `measure` makes a data set per count, the smaller ones as
hard links of the largest, and prints a table.
Each row's figures come from new processes: `prepare` is the stage on new data, `again` the stage on
the same data in another run, `touched` the stage with another seed, for which only the findings
about images are kept, `load` reads the saved splits as the later stages do, `plan` also builds the
model, tokenizes and plans an epoch, `first` is the time that `captune caption FOLDER` takes to find
its images and open its destination. Memory is the peak of the process, of which the imports alone
are given as `bare`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import Pool
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from captune.recipe import Recipe

WIDTH, HEIGHT = 64, 48
PER_FOLDER = 1000
_SUBJECTS = ("dog", "cat", "man", "woman", "child", "horse", "bird", "car", "boat", "bicycle")
_COLOURS = ("red", "brown", "white", "black", "green", "yellow", "small", "large", "old", "new")
_DOINGS = ("runs", "stands", "sits", "waits", "turns", "moves", "rests", "jumps", "plays", "lies")
_PLACES = ("beach", "road", "field", "river", "house", "street", "tree", "wall", "bench", "hill")

_ORDER = ("prepare", "again", "touched", "load", "plan", "list")
_TITLES = (
    "prepare s (CPU s)",
    "images/s",
    *("again s", "touched s", "load s", "plan s", "first s"),
    *("MB bare", "MB prepare", "MB again", "MB touched", "MB load", "MB plan"),
)


def main() -> None:
    """Make a data set, measure some, or do one measured step in this process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make")
    make.add_argument("count", type=int)
    make.add_argument("folder", type=Path)
    measure = commands.add_parser("measure")
    measure.add_argument("counts", type=int, nargs="+")
    measure.add_argument("--folder", type=Path, default=Path("/tmp/captune-scale"))
    measure.add_argument("--keep", action="store_true", help="Keep the data sets.")
    measure.add_argument("--steps", nargs="+", choices=_ORDER, default=_ORDER)
    measure.add_argument("--json", type=Path, help="Write the figures of each count and step.")
    step = commands.add_parser("step")
    step.add_argument("name", choices=sorted(STEPS))
    step.add_argument("folder", type=Path)
    options = parser.parse_args()
    if options.command == "make":
        make_images(options.count, options.folder)
    elif options.command == "measure":
        measure_all(options)
    else:
        run_step(options.name, options.folder)


def make_images(count: int, folder: Path, *, others: Path | None = None) -> None:
    """Write photographs and captions; a folder that is complete is left as it is.

    Args:
        count: Number of photographs.
        folder: The data set's folder.
        others: A larger data set, whose photographs are linked where they exist.
    """
    captions = folder / "captions.jsonl"
    if captions.exists():
        return
    starts = range(0, count, PER_FOLDER)
    jobs = [(folder, start, min(start + PER_FOLDER, count), others) for start in starts]
    if len(jobs) == 1:
        _make_folder(jobs[0])
    else:
        with Pool() as pool:
            pool.map(_make_folder, jobs)
    with captions.open("w") as file:
        for number in range(count):
            row = {"image": image_name(number), "captions": write_captions(number)}
            file.write(json.dumps(row) + "\n")


def image_name(number: int) -> str:
    """Return the path of an image below the data set's folder."""
    return f"images/{number // PER_FOLDER:04d}/{number:07d}.jpg"


def write_captions(number: int) -> list[str]:
    """Return two captions; most images have others."""
    rng = np.random.default_rng([number, 1])
    picks = rng.integers(10, size=(2, 5)).tolist()
    return [
        f"a {_COLOURS[a]} {_SUBJECTS[b]} {_DOINGS[c]} near the {_COLOURS[d]} {_PLACES[e]}"
        f"{f' number {number % 977}' if row else ''}"
        for row, (a, b, c, d, e) in enumerate(picks)
    ]


def _make_folder(job: tuple[Path, int, int, Path | None]) -> None:
    folder, start, end, others = job
    (folder / image_name(start)).parent.mkdir(parents=True, exist_ok=True)
    for number in range(start, end):
        if (folder / image_name(number)).exists():
            continue
        if others is not None:
            os.link(others / image_name(number), folder / image_name(number))
            continue
        rng = np.random.default_rng(number)
        cells = Image.fromarray(rng.integers(256, size=(6, 8, 3), dtype=np.uint8))
        image = cells.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        image.save(folder / image_name(number), quality=75)


def measure_all(options: argparse.Namespace) -> None:
    """Print one row per count, and write the figures of each step as they are measured."""
    print("| images | " + " | ".join(_TITLES) + " |")
    print("|---" * (len(_TITLES) + 1) + "|", flush=True)
    folder: Path = options.folder
    largest = max(options.counts)
    make_images(largest, folder / str(largest))
    # Linking an image changes its status time, so all are linked before the first is read.
    for count in options.counts:
        make_images(count, folder / str(count), others=folder / str(largest))
    # Files that have just changed are not kept.
    time.sleep(3.0)
    all_found: dict[int, dict[str, dict[str, float]]] = {}
    for count in options.counts:
        found = all_found[count] = {}
        for name in (name for name in _ORDER if name in options.steps):
            found[name] = _in_new_process(name, folder / str(count))
            if options.json:
                options.json.write_text(json.dumps(all_found, indent=2))
        print(f"| {count:,} | " + " | ".join(_cells(count, found)) + " |", flush=True)
    if not options.keep:
        for count, kind in itertools.product(options.counts, ("", "-run", "-cache")):
            shutil.rmtree(folder / f"{count}{kind}", ignore_errors=True)


def _cells(count: int, found: dict[str, dict[str, float]]) -> Iterator[str]:
    """Yield what a row says; a step that was not asked for has a dash."""
    prepare = found.get("prepare")
    yield f"{prepare['seconds']:.1f} ({prepare['cpu']:.1f})" if prepare else "-"
    yield f"{count / prepare['seconds']:,.0f}" if prepare else "-"
    for name in _ORDER[1:]:
        yield f"{found[name]['seconds']:.1f}" if name in found else "-"
    yield f"{max(each['before'] for each in found.values()):,.0f}"
    for name in _ORDER[:-1]:
        yield f"{found[name]['peak']:,.0f}" if name in found else "-"


def _in_new_process(name: str, folder: Path) -> dict[str, float]:
    environment = {
        **os.environ,
        "CAPTUNE_CACHE": str(folder.with_name(f"{folder.name}-cache")),
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, __file__, "step", name, str(folder)]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_step(name: str, folder: Path) -> None:
    """Do one step in this process, and print its seconds, CPU seconds and memory as JSON."""
    # Imports are not what grows with the data.
    import captune.pipeline.stages.prepare
    import captune.training.batches.training_inputs  # noqa: F401

    before = _peak()
    started, cpu = time.perf_counter(), _cpu()
    with _profiled(os.environ.get("SCALE_PROFILE")):
        STEPS[name](folder)
    figures = {
        "seconds": time.perf_counter() - started,
        "cpu": _cpu() - cpu,
        "before": before,
        "peak": _peak(),
        "children": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }
    print(json.dumps(figures))


def _prepare(folder: Path, *, seed: int = 42) -> None:
    from captune.pipeline.stages import Job
    from captune.pipeline.stages.prepare import prepare

    run = folder.with_name(f"{folder.name}-run")
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir()
    prepare(Job(_recipe(folder, seed), run, resume=False, say=_to_stderr, team=None))  # type: ignore[arg-type]


def _prepare_anew(folder: Path) -> None:
    shutil.rmtree(folder.with_name(f"{folder.name}-cache"), ignore_errors=True)
    _prepare(folder)


def _prepare_touched(folder: Path) -> None:
    _prepare(folder, seed=43)


def _load(folder: Path) -> None:
    from captune.data import load_splits

    records = load_splits(folder.with_name(f"{folder.name}-run"))
    assert len(records) > 0


def _plan(folder: Path) -> None:
    from captune.data import load_splits, select_split
    from captune.models import build_captioner
    from captune.training.batches.feeding import Feed, tokenize_records

    recipe = _recipe(folder)
    records = select_split(load_splits(folder.with_name(f"{folder.name}-run")), "train")
    captions = (c for record in records for c in record.captions)
    captioner = build_captioner(recipe.model, captions, seed=1)
    data = tokenize_records(captioner, records, recipe=recipe)
    feed = Feed(captioner, data, recipe, ("original",))
    plans = feed.plan(0)
    packer = feed.packer()
    for plan in plans[:20]:
        for micro in plan.micro_batches:
            packer.pack(micro, 0)


def _list(folder: Path) -> None:
    from captune.bulk import find_items

    assert sum(1 for _ in find_items([str(folder / "images")]))


def _recipe(folder: Path, seed: int = 42) -> Recipe:
    from captune.recipe import Recipe

    return Recipe.model_validate(
        {
            "name": "scale",
            "seed": seed,
            "data": {"path": str(folder / "captions.jsonl")},
            "model": {"size": "blip-tiny", "new_tokenizer": {"kind": "word", "min_count": 1}},
        }
    )


STEPS: dict[str, Callable[[Path], None]] = {
    "prepare": _prepare_anew,
    "again": _prepare,
    "touched": _prepare_touched,
    "load": _load,
    "plan": _plan,
    "list": _list,
}


@contextmanager
def _profiled(place: str | None) -> Iterator[None]:
    """Write a profile to `place`, which `python -m pstats` reads; `None`: do not."""
    if place is None:
        yield
        return
    import cProfile

    profile = cProfile.Profile()
    profile.enable()
    yield
    profile.disable()
    profile.dump_stats(place)


def _peak() -> float:
    """Return the peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _cpu() -> float:
    """Return the CPU seconds of this process and its finished children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    main()
