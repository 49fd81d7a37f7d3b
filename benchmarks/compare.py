"""captune beside the notebooks' way and plain transformers done well, in turns, ratio first.

    python benchmarks/compare.py --data PHOTOS --json compare.json
    python benchmarks/compare.py --data PHOTOS --json compare.json --rows caption-greedy latency \
        --models blip-base --repeats 3
    python benchmarks/compare.py --table compare.json

Each side runs in a process of its own, and in turns, so that memory and caches are separate and
other load affects all sides. Models have random weights of published sizes, and every caption has
exactly 20 tokens. Each process's figures are added to the JSON file at once; the same command
continues a run that was stopped. `--fp32` computes in float32 on all sides, for machines without
bf16. `--quick` takes a tiny model and a second.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from comparison.plan import MODELS, QUICK_MODELS, ROWS, SIDES, TASKS, Task
from comparison.table import render

VOCABULARY = 30_000
"""Words, so that the output layer has the size of the published models'."""

LONGEST = 1200.0
"""Seconds after which a process is stopped."""


def main() -> None:
    options = parse_options()
    if options.task:
        run_task(Task.read(options.task))
    elif options.table:
        print(render(json.loads(options.table.read_text(encoding="utf-8"))), end="")
    else:
        compare(options)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="shapes:64", help="photographs with five captions each")
    parser.add_argument("--json", type=Path, help="add the figures of each process to this file")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--models", nargs="+", help=f"default: {' '.join(MODELS)}")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, help="minimum time of a measurement; default: 10")
    parser.add_argument("--images", type=int, help="photographs used; default: 64, for data 500")
    parser.add_argument("--batch", type=int, default=16, help="captune's images per batch")
    parser.add_argument(
        "--plain-batch", type=int, default=8, help="images per batch of plain transformers"
    )
    parser.add_argument(
        "--precision", choices=("auto", "bf16"), default="auto", help="captune's, in captioning"
    )
    parser.add_argument(
        "--backend",
        choices=("auto", "torch", "openvino", "onnx"),
        default="auto",
        help="what runs captune's model in captioning",
    )
    parser.add_argument("--fp32", action="store_true", help="float32 on all sides")
    parser.add_argument("--quick", action="store_true", help="a tiny model, one turn, a second")
    parser.add_argument("--work", type=Path, help="folder that keeps the models between runs")
    parser.add_argument("--table", type=Path, help="print the tables of a JSON file, and no more")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    options = parser.parse_args()
    quick = options.quick
    options.models = options.models or list(QUICK_MODELS if quick else MODELS)
    options.seconds = options.seconds if options.seconds is not None else 0.2 if quick else 10.0
    options.repeats = 1 if quick else options.repeats
    return options


def compare(options: argparse.Namespace) -> None:
    content = open_json(options)
    with tempfile.TemporaryDirectory(prefix="captune-compare-") as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        photos = write_photos(options, work)
        print(content["machine"], flush=True)
        for task, turn in plan_tasks(options, work, photos=photos):
            if any(is_same(run, task, turn) for run in content["runs"]):
                continue
            try:
                prepare_model(task, options.data)
            except SystemExit as error:
                print(f"skipped: {task.name} {task.model}: {str(error).strip()[-300:]}", flush=True)
                continue
            figures = run_process(task)
            if figures is None:
                continue
            content["runs"].append(
                {"task": task.name, "model": task.model, "side": task.side, "turn": turn, **figures}
            )
            report(task, figures, turn)
            write_json(options.json, content)
    print()
    print(render(content), end="")


def plan_tasks(
    options: argparse.Namespace, work: Path, *, photos: dict[str, Path]
) -> Iterator[tuple[Task, int]]:
    """Yield the processes: model by model and work by work, the sides in turns."""
    for model in options.models:
        for name, own_rows in TASKS.items():
            rows = tuple(row for row in own_rows if row in options.rows)
            sides = [s for s in options.sides if s == "captune" or name != "int8"]
            for turn in range(options.repeats if rows else 0):
                for side in sides:
                    task = Task(
                        name=name,
                        rows=rows,
                        side=side,
                        model=model,
                        folder=str(work / (f"{model}-int8" if name == "int8" else model)),
                        photos=str(photos["data" if name == "data" else "few"]),
                        fp32=options.fp32,
                        seconds=options.seconds,
                        plain_batch=options.plain_batch,
                        batch=options.batch,
                        precision=options.precision,
                        backend=options.backend,
                    )
                    yield task, turn


def run_process(task: Task) -> dict[str, Any] | None:
    """Run one side in a process; `None`: it failed, and the reason is printed."""
    command = [sys.executable, __file__, "--task", task.write()]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        print(f"skipped: {task.side} {task.name} {task.model}: longer than {LONGEST:.0f} s")
        return None
    if done.returncode:
        # captune's errors end in several lines: what is wrong, where, how to fix it.
        last = " ".join(line.strip() for line in done.stderr.strip().splitlines()[-4:])
        print(
            f"skipped: {task.side} {task.name} {task.model}: {last or 'no reason given'}",
            flush=True,
        )
        return None
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def run_task(task: Task) -> None:
    """Measure one side in this process; print its figures as the last line."""
    if task.side == "captune":
        from comparison.own_side import measure
    else:
        from comparison.other_sides import measure
    figures = measure(task)
    from captune.hardware import choose_hardware

    hardware = choose_hardware("auto", "fp32", section="")
    figures.details.setdefault("peak_memory_mb", hardware.peak_memory() / 1e6)
    print(json.dumps(asdict(figures)))


def prepare_model(task: Task, data: str) -> None:
    """Write the model's folder unless it is there; a quantized one is exported from it."""
    folder = Path(task.folder)
    if folder.exists():
        return
    script = "from compare import build_model; import sys; build_model(*sys.argv[1:])"
    if task.name != "int8":
        arguments = [task.model, str(folder), task.photos]
        # A process of its own: this one stays small.
        run_here([sys.executable, "-c", script, *arguments])
        return
    plain = folder.with_name(task.model)
    if not plain.exists():
        run_here([sys.executable, "-c", script, task.model, str(plain), task.photos])
    # Captions of random weights turn on the smallest difference.
    accepted = ("--int8", "--data", data, "--min-equal", "0")
    export = ("export", str(plain), str(folder), "--to", "openvino", *accepted)
    run_here([sys.executable, "-m", "captune", *export])


def run_here(command: list[str]) -> None:
    place = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(command, env=place, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])


def build_model(name: str, folder: str, photos: str) -> None:
    """Write a model of a named size with random weights and a vocabulary of usual size."""
    import torch

    from captune.models import build_size, train_tokenizer
    from captune.recipe import TokenizerConfig

    captions = [c for _, own in json.loads(Path(photos).read_text()) for c in own]
    fillers = [" ".join(f"w{number}" for number in range(VOCABULARY))]
    config = TokenizerConfig(kind="word", min_count=1, vocab_size=VOCABULARY)
    tokenizer = train_tokenizer([*captions, *fillers], config)
    torch.manual_seed(0)
    build_size(name, tokenizer).save(Path(folder))


def write_photos(options: argparse.Namespace, work: Path) -> dict[str, Path]:
    """Write lists of photographs with captions: few, and as many as the data rows need."""
    from captune.data import load_records, read_source

    wanted = {"few": options.images or 64, "data": options.images or 500}
    records = [r for r in load_records(options.data).records if r.captions]
    listed = []
    for number, record in enumerate(records[: max(wanted.values())]):
        path = record.image
        if not isinstance(path, Path):
            path = work / "images" / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(read_source(record.image))
        listed.append([str(path.absolute()), list(record.captions)])
    files = {name: work / f"{name}.json" for name in wanted}
    for name, file in files.items():
        file.write_text(json.dumps(listed[: wanted[name]]), encoding="utf-8")
    return files


def open_json(options: argparse.Namespace) -> dict[str, Any]:
    if options.json is not None and options.json.exists():
        content: dict[str, Any] = json.loads(options.json.read_text(encoding="utf-8"))
        return content
    return {
        "schema": 1,
        "date": datetime.date.today().isoformat(),
        "machine": describe_machine(),
        "fp32": options.fp32,
        "limit": describe_limit(options),
        "runs": [],
    }


def describe_limit(options: argparse.Namespace) -> str:
    """Return the machine's limit, measured in a process of its own."""
    precision = "fp32" if options.fp32 else "auto"
    script = (
        "from captune.benchmark import measure_limit; from captune.hardware import choose_hardware;"
        f" print(measure_limit(choose_hardware('auto', {precision!r}), seconds=1).describe())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def is_same(run: dict[str, Any], task: Task, turn: int) -> bool:
    names = (run["task"], run["model"], run["side"], run["turn"])
    return names == (task.name, task.model, task.side, turn) and set(task.rows) <= set(run["rates"])


def report(task: Task, figures: dict[str, Any], turn: int) -> None:
    for row, rate in figures["rates"].items():
        print(f"{task.model:14} {row:20} {task.side:9} turn {turn + 1}: {rate:.4g}", flush=True)


def write_json(path: Path | None, content: dict[str, Any]) -> None:
    if path is None:
        return
    from captune.storage import write_json as write

    write(path, content)


def describe_machine() -> str:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
