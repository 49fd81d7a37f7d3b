"""Setting of the checks: the device, their lines, and captioners and batches to check with."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch

from captune.data import make_shapes
from captune.hardware import Hardware, free_cached_memory
from captune.models import SIZES, Captioner, build_size, train_tokenizer
from captune.recipe import Recipe, TokenizerConfig
from captune.records import CaptionBatch, CaptionRecord, VisionInputs

Status = Literal["PASS", "FAIL", "SKIP"]


@dataclass(frozen=True)
class Line:
    """One line of the report.

    Attributes:
        name: Name of the check, with dots.
        status: `SKIP` if the device does not support the check.
        figure: What was measured, or why it failed.
    """

    name: str
    status: Status
    figure: str


@dataclass(frozen=True)
class Setting:
    """Device, extent and folder of a check.

    Attributes:
        hardware: The device, in fp32.
        quick: Whether to use tiny sizes and few repeats.
        folder: Folder for its files.
    """

    hardware: Hardware
    quick: bool
    folder: Path

    @property
    def device(self) -> torch.device:
        """The device alone."""
        return self.hardware.device

    @property
    def sizes(self) -> list[str]:
        """Every named size except the large ones, which have a check of their own."""
        if self.quick:
            return ["blip-tiny", "vit-gpt2-tiny"]
        return [name for name in SIZES if name not in self.large_sizes]

    @property
    def large_sizes(self) -> list[str]:
        """The named sizes whose reference on the CPU takes a minute."""
        return [name for name in SIZES if name.endswith("-large")]

    @property
    def precisions(self) -> list[str]:
        """Precisions in which the device can train."""
        half = [] if self.device.type in ("cpu", "mps") else ["fp16"]
        return ["fp32", "bf16", *half]

    @property
    def fast_precision(self) -> str:
        """The precision in which speed is measured."""
        return "fp32" if self.device.type in ("cpu", "mps") else "bf16"

    def at(self, precision: str) -> Hardware:
        """Return the device in another precision."""
        return replace(self.hardware, precision=precision)

    def reset_peak(self) -> None:
        """Measure the peak of memory from this point."""
        self.let_go()
        if self.device.type in ("cuda", "xpu"):
            getattr(torch, self.device.type).reset_peak_memory_stats(self.device)

    def let_go(self) -> None:
        """Free the memory of earlier checks."""
        gc.collect()
        free_cached_memory(self.device)


def verdict(passed: bool) -> Status:
    return "PASS" if passed else "FAIL"


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0][:200]


@lru_cache(maxsize=2)
def make_tokenizer(words: int) -> Any:
    text = " ".join(f"w{number}" for number in range(words))
    config = TokenizerConfig(kind="word", min_count=1, vocab_size=words)
    return train_tokenizer([text], config)


def make_captioner(size: str, *, words: int = 500) -> Captioner:
    """Build a captioner with the same random weights each time, in eval mode."""
    torch.manual_seed(0)
    captioner = build_size(size, make_tokenizer(words))
    captioner.eval_mode()
    return captioner


def make_batch(captioner: Captioner, images: int, *, captions: int = 3) -> CaptionBatch:
    """Build a batch of noise with captions of 6 to 14 words, on the CPU."""
    draw = random.Random(1)
    rows = [
        [" ".join(f"w{draw.randrange(400)}" for _ in range(draw.randint(6, 14))) for _ in range(n)]
        for n in [captions] * images
    ]
    batch = captioner.batch(rows, [str(i) for i in range(images)], max_caption_tokens=20)
    return replace(batch, vision_inputs=VisionInputs.of_pixels(make_pixels(captioner, images)))


def make_pixels(captioner: Captioner, images: int) -> torch.Tensor:
    """Draw noise, float32 (images, 3, side, side), different for each image, on the CPU."""
    side = captioner.image_processor.size["height"]
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(images, 3, side, side, generator=generator)
    return noise * torch.linspace(0.5, 1.5, images)[:, None, None, None]


def make_recipe(setting: Setting, **train: Any) -> Recipe:
    """Return a recipe for a short training of a tiny captioner, or one of `size`, on shapes."""
    size = train.pop("size", "vit-gpt2-tiny")
    settings: dict[str, Any] = {
        "epochs": 2,
        "micro_batch_size": 4,
        "global_batch_size": 8,
        "learning_rate": 1e-3,
        "precision": "fp32",
        "device": str(setting.device),
        "log_every": 1,
        "trackers": [],
        "validate_images": 4,
        "best_metric": "last",
        **train,
    }
    return Recipe.model_validate(
        {
            "seed": 5,
            "data": {"num_workers": 0, "views": ["original"]},
            "model": {"size": size},
            "train": settings,
            "generate": {"num_beams": 1, "max_new_tokens": 8},
        }
    )


@lru_cache(maxsize=4)
def make_records(images: int) -> tuple[CaptionRecord, ...]:
    return tuple(make_shapes(images, seed=3, image_size=64))


@contextmanager
def exact_fp32() -> Iterator[None]:
    """Compute in full fp32, as the CPU does, not in TF32."""
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    try:
        yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed
