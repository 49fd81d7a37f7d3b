"""captune's side: what `captune bench` measures, with the settings that users get."""

from __future__ import annotations

import sys
from typing import Any

from captune.benchmark import (
    load_caption_subject,
    load_subject,
    measure_captioning,
    measure_data,
    measure_training,
)
from captune.inference import RunRequest
from captune.recipe import GenerateConfig, Recipe
from captune.records import CaptionRecord
from comparison.plan import Figures, Task

TOKENS = 20
BEAMS = 5


def measure(task: Task) -> Figures:
    records = [
        CaptionRecord(str(path), path, tuple(captions)) for path, captions in task.read_photos()
    ]
    return {
        "train-full": measure_steps,
        "train-frozen": measure_steps,
        "caption": measure_captions,
        "int8": measure_captions,
        "data": measure_reader,
    }[task.name](task, records)


def measure_steps(task: Task, records: list[CaptionRecord]) -> Figures:
    captioner = load_subject(task.folder, records)
    captioner.freeze(["vision"] if task.name == "train-frozen" else [])
    figures = measure_training(
        captioner,
        records,
        recipe=make_recipe(task),
        seconds=task.seconds,
        say=say,
    ).as_json()
    rates = {task.name: figures["steady"]["captions_per_s"]}
    return Figures(rates, pick(figures, "peak_memory_mb", "share_of_limit", "gflop_per_image"))


def measure_captions(task: Task, records: list[CaptionRecord]) -> Figures:
    """Caption as `captune caption` does: by the backend and in the precision that it chooses."""
    precision = "fp32" if task.fp32 else task.precision
    request = RunRequest(task.folder, task.backend, len(records), "auto", precision)
    subject = load_caption_subject(request, records, say=say)
    figures = Figures(details={"runs": subject.model.describe()})
    # The latency of greedy captioning is measured with it.
    for row in dict.fromkeys("caption-greedy" if r == "latency" else r for r in task.rows):
        beams = BEAMS if "beams" in row else 1
        found = measure_captioning(
            subject,
            records,
            config=GenerateConfig(num_beams=beams, max_new_tokens=TOKENS, min_new_tokens=TOKENS),
            batch_size=task.batch,
            seconds=task.seconds,
        ).as_json()
        if row in task.rows:
            figures.rates[row] = found["images_per_s"]
        figures.details[row] = pick(found, "share_of_limit", "latency_ms", "peak_memory_mb")
        if row == "caption-greedy" and "latency" in task.rows:
            figures.rates["latency"] = 1000 / found["latency_ms"]["p50"]
    return figures


def measure_reader(task: Task, records: list[CaptionRecord]) -> Figures:
    found = measure_data(
        load_subject(task.folder, records),
        records,
        recipe=make_recipe(task),
        epochs=4,
        seconds=0.0,
        say=say,
    ).as_json()
    rates = {
        "data-first": found["first_epoch_images_per_s"],
        "data-later": found["images_per_s"],
    }
    return Figures(rates, pick(found, "wait_share"))


def make_recipe(task: Task) -> Recipe:
    train = {
        "micro_batch_size": min(8, task.batch),
        "global_batch_size": min(8, task.batch),
        "precision": "fp32" if task.fp32 else "auto",
        "epochs": 1e6,
        "trackers": [],
    }
    return Recipe.model_validate({"name": "compare", "train": train})


def pick(figures: dict[str, Any], *keys: str) -> dict[str, object]:
    return {key: figures[key] for key in keys}


def say(line: str) -> None:
    print(line, file=sys.stderr)
