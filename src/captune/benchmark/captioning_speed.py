"""Speed of captioning: images per second in batches, the latency of one, the share of the limit."""

from __future__ import annotations

import statistics
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from PIL import Image

from captune.benchmark.caption_subject import CaptionSubject
from captune.benchmark.machine_limit import DTYPES, MachineLimit, Work, measure_limit
from captune.benchmark.operations import CaptionWork, count_captioning
from captune.data import DecodeMode, ImageDecoder, PixelSlots, count_threads, open_decoder
from captune.errors import DataError, ImageError
from captune.inference import LoadedCaptioner
from captune.recipe import GenerateConfig
from captune.records import CaptionRecord, Prediction

_MIN_LATENCIES = 5
_MIN_BATCHES = 2


@dataclass(frozen=True, slots=True)
class CaptioningSpeed:
    """The measured speed of captioning.

    Attributes:
        images: Images that were captioned in batches.
        seconds: Seconds of that.
        tokens: Mean number of generated tokens per image.
        latencies: Seconds per image, captioned one at a time, from the file to the caption.
        phases: Work per image of encoding and of all steps; `None`: it cannot be counted.
        limit: The machine's limit.
        peak_memory: Bytes; of the process on CPUs, of tensors elsewhere; 0: not reported.
        failures: Images that could not be read, with the reasons.
    """

    images: int
    seconds: float
    tokens: float
    latencies: tuple[float, ...]
    phases: tuple[Work, ...] | None
    limit: MachineLimit
    peak_memory: int
    failures: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """Return the figures of `captune bench caption --json`."""
        speed = self.images / self.seconds
        least = None if self.phases is None else self.limit.least_seconds(*self.phases)
        milliseconds = [1000 * seconds for seconds in self.latencies]
        return {
            "images_per_s": speed,
            "latency_ms": {
                "p50": statistics.median(milliseconds),
                "p95": statistics.quantiles(milliseconds, n=20, method="inclusive")[-1],
            },
            "peak_memory_mb": self.peak_memory / 1e6,
            "share_of_limit": None if least is None else least * speed,
            "images": self.images,
            "tokens_per_image": self.tokens,
            "limit": self.limit.as_json() | {"images_per_s": None if least is None else 1 / least},
        }


def measure_captioning(
    subject: CaptionSubject,
    records: Sequence[CaptionRecord],
    *,
    config: GenerateConfig,
    batch_size: int,
    decode: DecodeMode = "isolated",
    seconds: float,
) -> CaptioningSpeed:
    """Caption images in batches, and then one at a time, through the model's own `stream`.

    Args:
        subject: The model.
        records: Images; they are repeated if the time allows more.
        config: How to decode, complete.
        batch_size: Images per batch.
        decode: Where images are decoded.
        seconds: Minimum time of each of the two measurements.

    Raises:
        DataError: No image can be read.
    """
    hardware = subject.hardware
    with ExitStack() as opened:
        # The processes that decode stay open for all calls, as in a server.
        threads, slots = count_threads(), PixelSlots.for_threads()
        decoder = opened.enter_context(open_decoder(decode, num_threads=threads, slots=slots))
        run = _Run(subject.model, config, decoder)
        if not list(run.caption(records[:batch_size], batch_size=batch_size)):
            image_id, reason = next(iter(run.failures.items()))
            raise DataError(
                f"no image can be read; {image_id!r}: {reason}",
                where="--data",
                fix="check the data set with: captune data check DATA",
            )
        tokens, taken = run.time_batches(records, batch_size=batch_size, seconds=seconds)
        latencies = run.time_single(records, seconds=seconds)
        # Before counting and measuring the limit, which take memory of their own.
        peak = hardware.peak_memory()
    work = _count(subject)
    mean = statistics.fmean(tokens)
    return CaptioningSpeed(
        images=len(tokens),
        seconds=taken,
        tokens=mean,
        latencies=tuple(latencies),
        phases=None
        if work is None
        else work.phases(
            batch_size=batch_size,
            beams=config.num_beams,
            tokens=round(mean),
            bytes_per_value=DTYPES[hardware.precision].itemsize,
        ),
        limit=measure_limit(hardware, seconds=min(1.0, seconds)),
        peak_memory=peak,
        failures=run.failures,
    )


@dataclass(slots=True)
class _Run:
    """Captions images and keeps the reasons of those that cannot be read."""

    model: LoadedCaptioner
    config: GenerateConfig
    decoder: ImageDecoder
    failures: dict[str, str] = field(default_factory=dict)

    def caption(
        self, records: Iterable[CaptionRecord], *, batch_size: int
    ) -> Generator[Prediction]:
        """Yield captions on the way that `captune caption` takes."""
        return self.model.stream(
            ((record.image_id, record.image) for record in records),
            config=self.config,
            batch_size=batch_size,
            decode=self.decoder,
            on_failure=self._keep,
        )

    def time_batches(
        self, records: Sequence[CaptionRecord], *, batch_size: int, seconds: float
    ) -> tuple[list[int], float]:
        """Return the tokens of each caption, and the seconds of whole batches."""
        tokens: list[int] = []
        started = time.perf_counter()
        with closing(self.caption(cycle(records), batch_size=batch_size)) as predictions:
            for prediction in predictions:
                tokens.append(prediction.num_tokens)
                taken = time.perf_counter() - started
                is_whole = len(tokens) % batch_size == 0
                if is_whole and taken >= seconds and len(tokens) >= _MIN_BATCHES * batch_size:
                    break
        return tokens, taken

    def time_single(self, records: Sequence[CaptionRecord], *, seconds: float) -> list[float]:
        """Return the seconds of each image, one at a time, after a first one that warms up."""
        latencies: list[float] = []
        for record in cycle(records):
            started = time.perf_counter()
            if list(self.caption([record], batch_size=1)):
                latencies.append(time.perf_counter() - started)
            if len(latencies) > _MIN_LATENCIES and sum(latencies[1:]) >= seconds:
                return latencies[1:]
        raise AssertionError("a cycle of images has no end")

    def _keep(self, image_id: str, error: ImageError) -> None:
        self.failures[image_id] = error.what


def _count(subject: CaptionSubject) -> CaptionWork | None:
    captioner = subject.torch_form()
    if captioner is None:
        return None
    inputs = captioner.vision_inputs([Image.new("RGB", (64, 64))]).to(captioner.device)
    with subject.hardware.autocast():
        return count_captioning(captioner, inputs)
