"""Compare decoding and encoding replayed from graphs with the same work launched as usual."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from captune.hardware import Recorder, find_recorder
from captune.inference.decoding.decode import eval_mode, plan_search
from captune.inference.decoding.replayed.search import ReplayedSearch
from captune.inference.decoding.running import RunningSearch
from captune.inference.decoding.task import Hypothesis, SearchTask
from captune.models import Captioner, FastText, fast_text, inference_form
from captune.recipe import GenerateConfig
from gpu_checks.setting import (
    Line,
    Setting,
    exact_fp32,
    first_line,
    make_captioner,
    make_pixels,
    verdict,
)
from gpu_checks.training import WAIT

TOKENS = 20
_EQUAL = 0.9
"""Share of captions that must be equal in fp32: products of other shapes round differently, and
random weights leave candidates close. In half precision the share is only shown."""


class AsUsual:
    """Stands for the recorder of a device that has none: replays run the work as usual."""

    def warm_up(self, work: Callable[[], None]) -> None:
        """Run the work."""
        work()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Return the work."""
        return work

    def fetch(self, tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
        """Copy the tensor."""
        copied = tensor.cpu().clone()
        return lambda: copied


@dataclass
class Counting:
    """A recorder that counts the replays of another one."""

    inner: Recorder
    replays: int = 0

    def warm_up(self, work: Callable[[], None]) -> None:
        """Run the work."""
        self.inner.warm_up(work)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Return the counted replay."""
        recorded = self.inner.record(work)

        def replay() -> None:
            self.replays += 1
            recorded()

        return replay

    def fetch(self, tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
        """Copy the tensor."""
        return self.inner.fetch(tensor)


def check_replaying(setting: Setting) -> Iterator[Line]:
    """Compare captions in all families, then times, waits and the vision encoder."""
    sizes = ["blip-tiny", "git-tiny", "vit-gpt2-tiny", "vit-bert-tiny"]
    for size in sizes[:2] if setting.quick else sizes:
        yield from guarded(f"replay.{size}", lambda size=size: compare_captions(setting, size))
    if find_recorder(setting.device) is None:
        reason = f"{setting.device.type} records no graphs"
        for name in ("replay.speed", "replay.waits", "replay.vision"):
            yield Line(name, "SKIP", reason)
        return
    large = "blip-tiny" if setting.quick else "blip-base"
    captioner = make_captioner(large, words=500 if setting.quick else 20_000)
    captioner.move_to(setting.device)
    for batch in (4,) if setting.quick else (16, 64, 256):
        for beams in (1, 3):
            name = f"replay.speed.{large}.batch{batch}.beams{beams}"
            yield from guarded(
                name, lambda n=name, b=batch, k=beams: time_steps(setting, captioner, n, b, k)
            )
            setting.let_go()
    yield from guarded("replay.waits", lambda: count_waits(setting, captioner))
    for images in (1, 4):
        name = f"replay.vision.{large}.images{images}"
        yield from guarded(name, lambda n=name, i=images: time_vision(setting, captioner, n, i))


def guarded(name: str, measure: Callable[[], Line]) -> Iterator[Line]:
    """Yield the line of a measurement, or one with the reason of its failure."""
    try:
        with torch.inference_mode():
            yield measure()
    except (RuntimeError, ValueError, MemoryError, AssertionError) as error:
        yield Line(name, "FAIL", f"{type(error).__name__}: {first_line(error)}")


def compare_captions(setting: Setting, size: str) -> Line:
    """Compare captions in fp32 and in half precision."""
    captioner = make_captioner(size)
    captioner.move_to(setting.device)
    recorder = Counting(find_recorder(setting.device) or AsUsual())
    halves = {torch.float32, setting.at(setting.precisions[1]).dtype}
    shares: dict[str, float] = {}
    with exact_fp32(), eval_mode(captioner):
        for dtype in sorted(halves, key=str):
            for beams in (1, 3):
                found = share_equal(captioner, dtype, beams, recorder)
                shares[f"{str(dtype).removeprefix('torch.')} {beams}"] = found
    good = all(share >= _EQUAL for name, share in shares.items() if "32" in name)
    figures = ", ".join(f"{name}: {100 * share:.0f} %" for name, share in shares.items())
    kind = "graph" if find_recorder(setting.device) else "same steps, no graph"
    return Line(
        f"replay.{size}",
        verdict(good and recorder.replays > 0),
        f"equal captions by precision and beams: {figures}; {recorder.replays} replays ({kind})",
    )


def share_equal(captioner: Captioner, dtype: torch.dtype, beams: int, recorder: Recorder) -> float:
    count = 12
    config = GenerateConfig(num_beams=beams, max_new_tokens=TOKENS)
    task = plan_search(captioner, [str(number) for number in range(count)], config=config)
    states = captioner.encode(make_pixels(captioner, count).to(captioner.device))
    backend = as_fast(fast_text(captioner, dtype))
    usual = finish(RunningSearch(backend, task), states, task)
    replayed = finish(ReplayedSearch(backend, task, recorder=recorder), states, task)
    same = [a.token_ids == b.token_ids for a, b in zip(usual, replayed, strict=True)]
    return sum(same) / count


def as_fast(text: object) -> FastText:
    assert isinstance(text, FastText), "the fast text side does not know this model"
    return text


def finish(
    running: RunningSearch | ReplayedSearch, states: torch.Tensor, task: SearchTask
) -> list[Hypothesis]:
    found = dict(running.add(task.image_ids, states))
    while running.num_running:
        running.drop_free_rows()
        found |= dict(running.step())
    return [found[number] for number in range(len(states))]


def start_batch(
    setting: Setting, captioner: Captioner, batch: int, beams: int
) -> tuple[FastText, SearchTask, torch.Tensor]:
    """Return what both ways decode: captions of exactly TOKENS tokens, in half precision."""
    config = GenerateConfig(num_beams=beams, max_new_tokens=TOKENS, min_new_tokens=TOKENS)
    task = plan_search(captioner, [str(number) for number in range(batch)], config=config)
    dtype = setting.at(setting.fast_precision).dtype
    pixels = make_pixels(captioner, 4).to(setting.device)
    states = captioner.encode(pixels).repeat(-(-batch // 4), 1, 1)[:batch]
    return as_fast(fast_text(captioner, dtype)), task, states


def time_steps(setting: Setting, captioner: Captioner, name: str, batch: int, beams: int) -> Line:
    """Measure milliseconds per token of a batch, first steps and prompt included."""
    setting.reset_peak()
    backend, task, states = start_batch(setting, captioner, batch, beams)
    found = find_recorder(setting.device)
    assert found is not None
    recorder = Counting(found)
    usual = time_work(setting, lambda: finish(RunningSearch(backend, task), states, task))
    replayed = time_work(
        setting, lambda: finish(ReplayedSearch(backend, task, recorder=recorder), states, task)
    )
    return Line(
        name,
        verdict(recorder.replays > 0),
        f"{1000 * usual / TOKENS:.2f} ms per token as usual, {1000 * replayed / TOKENS:.2f}"
        f" replayed ({usual / replayed:.1f}x), peak"
        f" {setting.hardware.peak_memory() / 2**30:.1f} GiB",
    )


def time_work(setting: Setting, work: Callable[[], object]) -> float:
    """Return the median seconds of a few runs after a first one."""
    times = []
    for _ in range(4):
        setting.hardware.synchronize()
        started = time.perf_counter()
        work()
        setting.hardware.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def count_waits(setting: Setting, captioner: Captioner) -> Line:
    """Count how often the CPU waits for the device per token, once steps are recorded."""
    backend, task, states = start_batch(setting, captioner, 8, 3)
    recorder = find_recorder(setting.device)
    assert recorder is not None
    finish(ReplayedSearch(backend, task, recorder=recorder), states, task)
    again = ReplayedSearch(backend, replace(task), recorder=recorder)
    again.add(task.image_ids, states)
    setting.hardware.synchronize()
    steps = 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            while again.num_running:
                again.step()
                steps += 1
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waits = sum(WAIT in str(warning.message) for warning in caught)
    # The host waits for copies of earlier steps only, which does not count, and for the last one.
    return Line("replay.waits", verdict(waits <= 1), f"{waits} in {steps} steps")


def time_vision(setting: Setting, captioner: Captioner, name: str, images: int) -> Line:
    """Measure the vision encoder with few images, as a server or a notebook calls it."""
    dtype = setting.at(setting.fast_precision).dtype
    form = inference_form(captioner, vision=dtype, text=dtype)
    pixels = make_pixels(captioner, images).to(setting.device)
    plain = replace(form, replayed=None)
    usual = time_work(setting, lambda: plain.encode(pixels))
    for _ in range(3):
        form.encode(pixels)
    replayed = time_work(setting, lambda: form.encode(pixels))
    difference = (form.encode(pixels) - plain.encode(pixels)).abs().max().item()
    scale = plain.encode(pixels).abs().max().item()
    return Line(
        name,
        verdict(difference <= 0.05 * scale),
        f"{1000 * usual:.2f} ms as usual, {1000 * replayed:.2f} replayed ({usual / replayed:.1f}x),"
        f" largest difference {difference / scale:.1e} of the largest value",
    )
