"""captune's side: what `captune bench` measures, with the settings that users get."""

from __future__ import annotations

import sys
import time
from typing import Any

import captune
from captune.benchmark import (
    load_subject,
    measure_captioning,
    measure_data,
    measure_training,
)
from captune.hardware import choose_hardware
from captune.inference import Execution
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
        "int8": measure_exported,
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
    hardware = choose_hardware("auto", "fp32" if task.fp32 else "auto", section="")
    captioner = load_subject(task.folder, records)
    captioner.move_to(hardware.device)
    captioner.eval_mode()
    figures = Figures()
    for row in task.rows:
        if row == "latency":
            continue
        beams = BEAMS if "beams" in row else 1
        found = measure_captioning(
            captioner,
            records,
            config=GenerateConfig(num_beams=beams, max_new_tokens=TOKENS, min_new_tokens=TOKENS),
            batch_size=task.batch,
            execution=Execution(hardware),
            seconds=task.seconds,
        ).as_json()
        figures.rates[row] = found["images_per_s"]
        figures.details[row] = pick(found, "share_of_limit", "latency_ms", "peak_memory_mb")
        if row == "caption-greedy" and "latency" in task.rows:
            figures.rates["latency"] = 1000 / found["latency_ms"]["p50"]
    return figures


def measure_exported(task: Task, records: list[CaptionRecord]) -> Figures:
    """Caption with an exported folder, through the interface of Python."""
    model = captune.load(task.folder)
    paths = [record.image for record in records]
    figures = Figures()
    for row in task.rows:
        decoding = {"num_beams": BEAMS if "beams" in row else 1}
        exact = {**decoding, "max_new_tokens": TOKENS, "min_new_tokens": TOKENS}
        model.caption(paths[: task.batch], batch_size=task.batch, **exact)
        started, count = time.perf_counter(), 0
        while time.perf_counter() - started < task.seconds or count == 0:
            count += len(model.caption(paths, batch_size=task.batch, **exact))
        figures.rates[row] = count / (time.perf_counter() - started)
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
