"""Transformers without captune: done well (`plain`), and as the notebooks do it (`notebook`).

`plain`: SDPA where the model has it, bf16 (by autocast or in the weights, whichever is faster
here), batches padded to their longest caption, pinned memory on a device, images decoded by worker
processes, fused AdamW. `notebook`: float32, captions padded to 512 tokens with a loss on the
padding, one caption per row, one image at a time, nothing decoded ahead.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer

from comparison.plan import Figures, Task

TOKENS = 20
BEAMS = 5
PADDED = 512
CLASSES = {
    "blip": "BlipForConditionalGeneration",
    "git": "GitForCausalLM",
    "vision-encoder-decoder": "VisionEncoderDecoderModel",
}
VISION = {"blip": "vision_model", "git": "git.image_encoder", "vision-encoder-decoder": "encoder"}


class Side:
    """A transformers model with its processors, on the fastest device."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.well = task.side == "plain"
        kind = AutoConfig.from_pretrained(task.folder).model_type
        self.model_class = getattr(transformers, CLASSES[kind])
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = self.load().to(self.device)
        self.vision = self.model.get_submodule(VISION[kind])
        self.tokenizer = AutoTokenizer.from_pretrained(task.folder)
        self.processor = AutoImageProcessor.from_pretrained(task.folder, backend="pil")
        self.is_encoder_decoder = kind == "vision-encoder-decoder"
        if self.is_encoder_decoder:
            config = self.model.config
            config.pad_token_id = self.tokenizer.pad_token_id
            config.decoder_start_token_id = self.model.generation_config.decoder_start_token_id

    def load(self) -> Any:
        """Load the weights, with SDPA if the model has it."""
        kinds = ("sdpa", "eager") if self.well else ("eager",)
        for kind in kinds:
            with contextlib.suppress(ValueError):
                return self.model_class.from_pretrained(
                    self.task.folder, attn_implementation=kind, dtype=torch.float32
                )
        raise SystemExit(f"{self.task.folder} does not load")

    @property
    def half(self) -> bool:
        """Whether bf16 is used at all."""
        return self.well and not self.task.fp32 and has_bf16(self.device)

    def autocast(self) -> AbstractContextManager[object]:
        """Return autocast to bf16, or a context that does nothing."""
        if not self.half:
            return contextlib.nullcontext()
        return torch.autocast(self.device, dtype=torch.bfloat16)


def measure(task: Task) -> Figures:
    work = {
        "train-full": measure_steps,
        "train-frozen": measure_steps,
        "caption": measure_captions,
        "data": measure_reader,
    }
    return work[task.name](Side(task))


# Training.


def measure_steps(side: Side) -> Figures:
    task, model = side.task, side.model
    if task.name == "train-frozen":
        side.vision.requires_grad_(False)
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=side.well)
    rows = [(path, caption) for path, captions in task.read_photos() for caption in captions]
    size = task.plain_batch if side.well else 2
    batches = iter(read_batches(side, rows, size=size))

    def step() -> None:
        batch = next(batches)
        with side.autocast():
            loss = model(**{k: v.to(side.device, non_blocking=True) for k, v in batch.items()}).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        synchronize(side)

    step()
    # One step of a notebook takes ten seconds.
    count, seconds = repeat(step, task.seconds, at_least=2 if side.well else 1)
    return Figures({task.name: size * count / seconds}, {"bf16": side.half})


def read_batches(
    side: Side, rows: list[tuple[Path, str]], *, size: int
) -> Iterator[dict[str, torch.Tensor]]:
    def collate(chosen: list[tuple[Path, str]]) -> dict[str, torch.Tensor]:
        images = [open_rgb(path) for path, _ in chosen]
        pixels = side.processor(images=images, return_tensors="pt").pixel_values
        texts = side.tokenizer(
            [caption for _, caption in chosen],
            padding=True if side.well else "max_length",
            max_length=PADDED,
            truncation=True,
            return_tensors="pt",
        )
        labels = texts.input_ids
        if side.well:
            labels = labels.masked_fill(texts.attention_mask == 0, -100)
        if side.is_encoder_decoder:
            return {"pixel_values": pixels, "labels": labels}
        words = {"input_ids": texts.input_ids, "attention_mask": texts.attention_mask}
        return {"pixel_values": pixels, **words, "labels": labels}

    loader = DataLoader(
        rows,  # type: ignore[arg-type]
        batch_size=size,
        collate_fn=collate,
        num_workers=2 if side.well else 0,
        pin_memory=side.device != "cpu",
        persistent_workers=side.well,
        drop_last=True,
    )
    while True:
        yield from loader


# Captioning.


@torch.inference_mode()
def measure_captions(side: Side) -> Figures:
    figures = Figures()
    side.model.eval()
    paths = [path for path, _ in side.task.read_photos()]
    forward = choose_precision(side, paths) if side.half else plain_generate(side)
    figures.details["precision"] = describe(side)
    for row in side.task.rows:
        beams = BEAMS if row == "caption-beams" else 1
        if row == "latency" and not side.well and "caption-greedy" in figures.rates:
            figures.rates[row] = figures.rates["caption-greedy"]
        elif row == "latency" or not side.well:
            figures.rates[row] = time_single(side, paths, generate=forward, beams=beams)
        else:
            figures.rates[row] = time_batches(side, paths, generate=forward, beams=beams)
    return figures


Generate = Callable[[torch.Tensor, int], object]


def plain_generate(side: Side) -> Generate:
    def generate(pixels: torch.Tensor, beams: int) -> object:
        tokens = side.model.generate(
            pixel_values=pixels.to(side.device, side.model.dtype, non_blocking=True),
            num_beams=beams,
            do_sample=False,
            min_new_tokens=TOKENS,
            max_new_tokens=TOKENS,
        )
        return side.tokenizer.batch_decode(tokens.cpu(), skip_special_tokens=True)

    return generate


def choose_precision(side: Side, paths: list[Path]) -> Generate:
    """Return generation by autocast or with bf16 weights, whichever is faster here."""
    plain = plain_generate(side)

    def cast(pixels: torch.Tensor, beams: int) -> object:
        with side.autocast():
            return plain(pixels, beams)

    pixels = read_pixels(side, paths[:4])
    casting = time_second(lambda: cast(pixels, 1))
    side.model.to(torch.bfloat16)
    weights = time_second(lambda: plain(pixels, 1))
    if weights <= casting:
        return plain
    side.model = side.load().to(side.device).eval()
    return cast


def time_batches(side: Side, paths: list[Path], *, generate: Generate, beams: int) -> float:
    size = side.task.plain_batch
    loader = DataLoader(
        Endless(paths),
        batch_size=size,
        collate_fn=lambda chosen: read_pixels(side, chosen),
        num_workers=2,
        pin_memory=side.device != "cpu",
    )
    batches = iter(loader)
    generate(next(batches), beams)
    count, seconds = repeat(lambda: generate(next(batches), beams), side.task.seconds, at_least=2)
    return size * count / seconds


def time_single(side: Side, paths: list[Path], *, generate: Generate, beams: int) -> float:
    """Return 1 / median seconds of one image, from its file to its caption."""
    order = cycle(paths)
    times: list[float] = []
    while len(times) < 4 or sum(times[1:]) < side.task.seconds:
        started = time.perf_counter()
        generate(read_pixels(side, [next(order)]), beams)
        times.append(time.perf_counter() - started)
    return 1 / sorted(times[1:])[len(times[1:]) // 2]


class Endless(Dataset[Path]):
    """The photographs over and over, so that batches never wait for new workers."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, place: int) -> Path:
        return self._paths[place % len(self._paths)]


# Data.


def measure_reader(side: Side) -> Figures:
    """Read every photograph in two epochs; both are alike, as nothing is kept between them."""
    paths = [path for path, _ in side.task.read_photos()]
    loader = DataLoader(
        paths,  # type: ignore[arg-type]
        batch_size=8,
        collate_fn=lambda chosen: read_pixels(side, chosen),
        num_workers=2 if side.well else 0,
    )
    read_pixels(side, paths[:1])
    speeds = []
    for _ in range(2):
        started = time.perf_counter()
        images = sum(len(pixels) for pixels in loader)
        speeds.append(images / (time.perf_counter() - started))
    return Figures({"data-first": speeds[0], "data-later": speeds[1]})


# What all share.


def read_pixels(side: Side, paths: list[Path]) -> torch.Tensor:
    pixels: torch.Tensor = side.processor(
        images=[open_rgb(path) for path in paths], return_tensors="pt"
    ).pixel_values
    return pixels


def open_rgb(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def repeat(work: Callable[[], object], seconds: float, *, at_least: int) -> tuple[int, float]:
    """Return how often the work was done, and the seconds this took."""
    started = time.perf_counter()
    count = 0
    while True:
        work()
        count += 1
        taken = time.perf_counter() - started
        if count >= at_least and taken >= seconds:
            return count, taken


def time_second(work: Callable[[], object]) -> float:
    """Return the seconds of the second of two runs: the first one warms up."""
    work()
    return repeat(work, 0.0, at_least=1)[1]


def synchronize(side: Side) -> None:
    if side.device == "cuda":
        torch.cuda.synchronize()


def describe(side: Side) -> str:
    if not side.half:
        return "fp32"
    return "bf16 weights" if side.model.dtype == torch.bfloat16 else "bf16 autocast"


def has_bf16(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    return any(flag in Path("/proc/cpuinfo").read_text() for flag in ("avx512_bf16", "amx_bf16"))
