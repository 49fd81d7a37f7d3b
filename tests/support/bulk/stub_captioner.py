"""A captioner without a model: its captions follow from the pixels; its time and faults can be set.

Its folder holds `config.json`, so that another seed is another model, and `behaviour.cfg`, which
does not change captions. `site/sitecustomize.py` lets every process of a command load it.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
import warnings
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from captune.data import DecodeMode, ImageDecoder
from captune.errors import ImageError, ModelError
from captune.hub import PushedRepo
from captune.inference.loaded_captioner import LoadedCaptioner
from captune.inference.prepare import AnyImage, ImageMarks, OnFailure, prepare_ahead
from captune.recipe import GenerateConfig, fill_decoding
from captune.records import Prediction

Fault = Literal["crash", "hang", "memory", "error", "assertion", "empty", "repetition"]

_COLORS = ("red", "green", "blue", "white", "black", "brown", "grey", "yellow")
_THINGS = ("dog", "cat", "boat", "house", "tree", "horse", "train", "child")
_PLACES = ("beach", "street", "field", "table", "hill", "lake", "road", "sofa")
# Images of one colour: the model sees the pixels only, wherever it runs.
_FAULT_COLORS: dict[Fault, tuple[int, int, int]] = {
    "crash": (255, 0, 255),
    "hang": (0, 255, 255),
    "memory": (255, 255, 0),
    "error": (255, 128, 0),
    "assertion": (128, 64, 32),
    "empty": (128, 0, 255),
    "repetition": (0, 255, 128),
}
_FAULTS = {color: fault for fault, color in _FAULT_COLORS.items()}


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What the stub does beside captioning.

    Attributes:
        seconds_per_image: Service time per image.
        seconds_per_batch: Service time per batch, added to it.
        fits: Images that fit in memory at once; more raise an error of memory. 0: any number.
        fault_times: How often a faulty image shows its fault, over all processes. 0: each time.
        records: Whether each captioned image adds a line to `captioned.log`.
        seconds_per_word: Service time per word; other images join while words are decoded. `None`:
            all words of a batch are decoded at once.
    """

    seconds_per_image: float = 0.0
    seconds_per_batch: float = 0.0
    fits: int = 0
    fault_times: int = 0
    records: bool = False
    seconds_per_word: float | None = None


def write_stub(folder: Path, *, seed: int = 0, behaviour: Behaviour | None = None) -> Path:
    """Write the folder of a stub captioner, and return it; the seed changes its captions."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "stub", "seed": seed}))
    set_behaviour(folder, behaviour or Behaviour())
    return folder


def set_behaviour(folder: Path, behaviour: Behaviour) -> None:
    """Change what a stub does; its captions stay the same."""
    (folder / "behaviour.cfg").write_text(json.dumps(asdict(behaviour)))


def is_stub(folder: str | Path) -> bool:
    """Return whether a folder is that of a stub captioner."""
    return (Path(folder) / "behaviour.cfg").is_file()


def load_stub(folder: str | Path) -> StubCaptioner:
    """Return the captioner of a folder that `write_stub` wrote."""
    place = Path(folder)
    config = json.loads((place / "config.json").read_text())
    behaviour = Behaviour(**json.loads((place / "behaviour.cfg").read_text()))
    return StubCaptioner(place, config["seed"], behaviour)


def poison(fault: Fault) -> Image.Image:
    """Return an image that makes every stub crash, hang, run out of memory or fail."""
    return Image.new("RGB", (8, 8), _FAULT_COLORS[fault])


def caption_of(image: Image.Image, seed: int = 0, prompt: str | None = None) -> str:
    """Return the caption of upright RGB pixels."""
    size = f"{seed} {image.width} {image.height} ".encode()
    number = int.from_bytes(hashlib.blake2b(size + image.tobytes(), digest_size=8).digest(), "big")
    color, thing = _COLORS[number % 8], _THINGS[number // 8 % 8]
    text = f"a {color} {thing} by the {_PLACES[number // 64 % 8]} number {number // 512 % 100_000}"
    return f"{prompt} {text}" if prompt else text


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the stub takes from an image."""

    caption: str
    fault: Fault | None


@dataclass(slots=True)
class StubCaptioner(LoadedCaptioner):
    """A captioner whose captions are a hash of the pixels, in words."""

    folder: Path
    seed: int = 0
    behaviour: Behaviour = field(default_factory=Behaviour)

    @property
    def model(self) -> Any:
        raise NotImplementedError("the stub has no model")

    @property
    def processor(self) -> Any:
        raise NotImplementedError("the stub has no processor")

    def describe(self) -> str:
        return "a stub"

    def complete(self, decoding: GenerateConfig) -> GenerateConfig:
        return fill_decoding(decoding, {})

    def stream(
        self,
        images: Iterable[tuple[str, AnyImage]],
        *,
        config: GenerateConfig,
        batch_size: int | None = None,
        decode: DecodeMode | ImageDecoder = "isolated",
        on_failure: OnFailure | None = None,
    ) -> Generator[Prediction]:
        def look(image: Image.Image) -> _Seen:
            return self.look(image, config.prompt)

        batch: list[tuple[str, _Seen]] = []
        size = batch_size or 16
        marks = ImageMarks()
        opened = prepare_ahead(look, images, decode=decode, batch_size=size, marks=marks)
        with closing(opened) as prepared:
            for image_id, seen in prepared:
                if isinstance(seen, ImageError):
                    if on_failure is None:
                        raise seen
                    on_failure(image_id, seen)
                    continue
                batch.append((image_id, seen))
                if len(batch) >= size:
                    size = self._fit(size)
                    yield from marks.flag(self._caption(batch, size))
                    batch = []
            if batch:
                yield from marks.flag(self._caption(batch, self._fit(size)))

    def look(self, image: Image.Image, prompt: str | None = None) -> _Seen:
        """Return what the stub takes from an image."""
        fault = _FAULTS.get(image.getpixel((0, 0)))
        if fault is not None and np.ptp(np.asarray(image), axis=(0, 1)).any():
            fault = None
        return _Seen(caption_of(image, self.seed, prompt), fault)

    def caption_batch(self, batch: list[tuple[str, _Seen]]) -> list[Prediction]:
        """Return the captions of images that arrived together."""
        return self._caption(batch, self._fit(len(batch)))

    def open_batches(self) -> _StubBatches:
        return _StubBatches(self)

    def _fit(self, size: int) -> int:
        """Return the images per pass, halved with a warning as often as memory needs it."""
        while self.behaviour.fits and size > self.behaviour.fits:
            message = f"{size} images do not fit in the memory of the stub at once"
            warnings.warn(f"{message}: continuing with {size // 2}", stacklevel=2)
            size //= 2
        return size

    def _caption(self, batch: list[tuple[str, _Seen]], size: int) -> list[Prediction]:
        found = []
        for start in range(0, len(batch), size):
            part = batch[start : start + size]
            wait = self.behaviour.seconds_per_batch + self.behaviour.seconds_per_image * len(part)
            if wait:
                time.sleep(wait)
            found += [self._predict(image_id, seen) for image_id, seen in part]
        if self.behaviour.records:
            text = "".join(f"{prediction.caption}\n" for prediction in found)
            with (self.folder / "captioned.log").open("a") as file:
                file.write(text)
        return found

    def _predict(self, image_id: str, seen: _Seen) -> Prediction:
        fault = seen.fault
        if fault is not None and self._is_due(fault):
            _show(fault)
            if fault == "empty":
                return Prediction(image_id, "", -0.1, 1, "eos", ("empty",))
            if fault == "repetition":
                text = " ".join(["a dog and"] * 10)
                return Prediction(image_id, text, -0.1, 30, "length", ("repetition",))
        return Prediction(image_id, seen.caption, -0.5, 9, "eos")

    def _is_due(self, fault: Fault) -> bool:
        if not self.behaviour.fault_times:
            return True
        with (self.folder / f"{fault}.log").open("a+b") as file:
            file.write(b".")
            return file.tell() <= self.behaviour.fault_times

    def save_pretrained(self, folder: str | Path) -> None:
        raise NotImplementedError("the stub is not saved")

    def push_to_hub(self, repo: str, *, private: bool = False) -> PushedRepo:
        raise NotImplementedError("the stub is not pushed")


@dataclass(frozen=True, slots=True)
class _StubBatches:
    """Batches of the stub; a sampled caption names its seed."""

    captioner: StubCaptioner

    def prepare(self, image: Image.Image) -> _Seen:
        return self.captioner.look(image)

    def caption(
        self, batch: Sequence[tuple[str, _Seen]], configs: Sequence[GenerateConfig]
    ) -> list[tuple[Prediction, ...]]:
        found = self.captioner.caption_batch(list(batch))
        return [tuple(_worded(one, config) for config in configs) for one in found]

    def run(self, config: GenerateConfig) -> _StubRunning | None:
        seconds = self.captioner.behaviour.seconds_per_word
        return None if seconds is None else _StubRunning(self, config, seconds)


@dataclass(slots=True)
class _StubRunning:
    """Images whose captions the stub decodes word by word."""

    batches: _StubBatches
    config: GenerateConfig
    seconds: float
    next_number: int = 0
    may_add: bool = True
    _running: dict[int, tuple[Prediction, int]] = field(default_factory=dict)

    def add(self, batch: Sequence[tuple[str, _Seen]]) -> list[tuple[int, Prediction]]:
        found = self.batches.caption(batch, [self.config])
        started = {self.next_number + place: (one, 1) for place, (one,) in enumerate(found)}
        self._running |= started
        self.next_number += len(batch)
        return self._end()

    def step(self) -> list[tuple[int, Prediction]]:
        time.sleep(self.seconds)
        self._running = {n: (one, words + 1) for n, (one, words) in self._running.items()}
        return self._end()

    def drop(self, number: int) -> None:
        del self._running[number]

    def text_so_far(self, number: int) -> str:
        if self.config.num_beams > 1:
            return ""
        one, words = self._running[number]
        return " ".join(one.caption.split(" ")[:words])

    def _end(self) -> list[tuple[int, Prediction]]:
        ended = [n for n, (one, words) in self._running.items() if words > one.caption.count(" ")]
        return [(number, self._running.pop(number)[0]) for number in ended]


def _worded(prediction: Prediction, config: GenerateConfig) -> Prediction:
    prompt = f"{config.prompt} " if config.prompt else ""
    seed = f" of seed {config.seed}" if config.do_sample else ""
    return replace(prediction, caption=f"{prompt}{prediction.caption}{seed}")


def _show(fault: Fault) -> None:
    """Fail as a model would: end the process, never answer, or raise."""
    if fault == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if fault == "hang":
        time.sleep(1e6)
    if fault == "memory":
        raise ModelError("one image does not fit in the memory of the stub")
    if fault == "assertion":
        raise AssertionError("a kernel of the stub failed")
    if fault == "error":
        raise RuntimeError("a kernel of the stub failed")
