"""The predicted peak memory of trainings beside the measured one, as a table.

    python benchmarks/memory.py --data DATA --json memory.json
    python benchmarks/memory.py --data DATA --json memory.json --models git-base --settings full
    python benchmarks/memory.py --data DATA --models blip-tiny git-tiny --image-size 224
    python benchmarks/memory.py --table memory.json

Each training is predicted by `captune run --dry-run` and then done for a few steps by `captune
run`, each in a process of its own, on the CPU; the measured peak is the resident memory of that
process. Figures are added to the JSON file as they are measured: the same command continues. Other
load on the machine does not change them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SIZES = ("mobilenet-gpt2", "vit-gpt2-base", "git-base", "blip-base")
BATCHES = {"mobilenet-gpt2": (4, 16), "vit-gpt2-base": (4, 16), "git-base": (4, 8)}
SETTINGS: dict[str, dict[str, Any]] = {
    "full": {},
    "frozen": {"model.freeze": "[vision]"},
    "checkpointing": {"train.gradient_checkpointing": "true"},
    "accumulated": {},
    "frozen-accumulated": {"model.freeze": "[vision]"},
}
FIGURE = re.compile(r"^memory: about ([\d.]+) (GiB|MiB)", re.MULTILINE)
MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
if done.returncode:
    raise SystemExit(done.stderr[-2000:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="photographs with five captions each")
    parser.add_argument("--json", type=Path, help="add the figures of each training to this file")
    parser.add_argument("--models", nargs="+", default=list(SIZES), help="names of sizes")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--batches", nargs="+", type=int, help="images per micro batch")
    parser.add_argument("--image-size", type=int, help="pixels per side, for small models")
    parser.add_argument("--steps", type=int, default=3, help="optimizer steps of each training")
    parser.add_argument("--table", type=Path, help="print the table of a JSON file, and no more")
    options = parser.parse_args()
    if options.table:
        print(render(json.loads(options.table.read_text(encoding="utf-8"))))
        return
    rows = []
    if options.json and options.json.exists():
        rows = json.loads(options.json.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="captune-memory-") as folder:
        for case in cases(options):
            if any(all(row[key] == case[key] for key in case) for row in rows):
                continue
            row = {**case, **measure(case, options, Path(folder))}
            print(json.dumps(row), flush=True)
            rows.append(row)
            if options.json:
                options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    print(render(rows))


def cases(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the trainings: model, precision, settings and images per micro batch."""
    for model in options.models:
        for batch in options.batches or BATCHES.get(model, (2, 8)):
            for setting in options.settings:
                for precision in options.precisions:
                    names = {"model": model, "precision": precision, "setting": setting}
                    yield {**names, "batch": batch}


def measure(
    case: Mapping[str, Any], options: argparse.Namespace, folder: Path
) -> dict[str, float | str]:
    """Return the predicted and the measured peak of one training in MiB."""
    sets = {
        "name": "memory",
        "data.path": options.data,
        "data.num_workers": 0,
        "train.device": "cpu",
        "train.max_steps": options.steps,
        # More than one epoch, so that a frozen vision part is cached.
        "train.epochs": 2,
        "train.micro_batch_size": case["batch"],
        "train.global_batch_size": case["batch"] * (2 if "accumulated" in case["setting"] else 1),
        "train.precision": case["precision"],
        "train.trackers": "[]",
        "train.validate_images": 4,
        "evaluate.batch_size": 8,
        **model_settings(case["model"], folder),
        **({"model.image_size": options.image_size} if options.image_size else {}),
        **SETTINGS[case["setting"]],
    }
    recipe = folder / "recipe.yaml"
    recipe.write_text("name: memory\n", encoding="utf-8")
    changes = [text for key, value in sets.items() for text in ("--set", f"{key}={value}")]
    run = [sys.executable, "-m", "captune", "run", str(recipe), "--only", "prepare,train", *changes]
    with tempfile.TemporaryDirectory(dir=folder) as out:
        dry = run_process([*run, "--out", f"{out}/dry", "--dry-run"])
        found = FIGURE.search(dry)
        if found is None:
            raise SystemExit(f"no prediction in: {dry}")
        predicted = float(found[1]) * (1024 if found[2] == "GiB" else 1)
        measured = run_process([sys.executable, "-c", MEASURE, *run, "--out", f"{out}/run"])
    line = next(line for line in dry.splitlines() if line.startswith("memory:"))
    return {"predicted": predicted, "measured": float(measured.split()[-1]), "line": line}


def model_settings(model: str, folder: Path) -> dict[str, Any]:
    """Return the recipe's keys of a model; a MobileNetV2 with random weights is written first."""
    if model != "mobilenet-gpt2":
        return {"model.size": model}
    encoder = folder / "mobilenet"
    if not encoder.exists():
        script = (
            "import sys; from transformers import *;"
            "MobileNetV2Model(MobileNetV2Config(image_size=224)).save_pretrained(sys.argv[1]);"
            "MobileNetV2ImageProcessor().save_pretrained(sys.argv[1])"
        )
        run_process([sys.executable, "-c", script, str(encoder)])
    return {
        "model.encoder": encoder,
        "model.image_size": 224,
        # GPT-2 small.
        **{"model.new_decoder.width": 768, "model.new_decoder.layers": 12},
        "model.new_decoder.heads": 12,
    }


def run_process(command: list[str]) -> str:
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=offline, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}")
    return done.stdout


def render(rows: list[dict[str, Any]]) -> str:
    """Return the table in Markdown."""
    lines = [
        "| model | precision | training | images per micro batch | predicted, GiB | measured, GiB"
        " | predicted / measured |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        sizes = f"{row['predicted'] / 1024:.2f} | {row['measured'] / 1024:.2f}"
        ratio = row["predicted"] / row["measured"]
        names = f"{row['model']} | {row['precision']} | {row['setting']} | {row['batch']}"
        lines.append(f"| {names} | {sizes} | {ratio:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
