"""Work of a device that is recorded once and then replayed with a single launch: CUDA graphs.

A decoding step of a small text side is 400 launches, which take longer than the work that they
start. A graph replays the same kernels on the same memory, so everything that changes between steps
must be in tensors at fixed addresses, and nothing may wait for the device.
Source: "Accelerating PyTorch with CUDA Graphs" (pytorch.org, 2021) and torch's notes on CUDA.
"""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Protocol

import torch

from captune.hardware.devices import is_out_of_memory

Work = Callable[[], None]
"""Queues operations on tensors at fixed addresses; each call queues the same ones."""

Fetched = Callable[[], torch.Tensor]
"""Waits for a copy on the CPU, and returns it."""

_WARM_UPS = 2
"""Runs before recording: libraries allocate their workspaces, and kernels are loaded."""


class Recorder(Protocol):
    """A device that records work."""

    def warm_up(self, work: Work) -> None:
        """Run the work as usual."""

    def record(self, work: Work) -> Work:
        """Return the replay of work that has been run before; recording does not run it.

        Raises:
            RuntimeError: The device or the work does not support it.
        """

    def fetch(self, tensor: torch.Tensor) -> Fetched:
        """Start to copy the tensor as it is after all queued work; return a function to wait."""


class CudaRecorder:
    """Records CUDA graphs, also with AMD's devices."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        # A stream of its own for warm-up and recording: torch's default one belongs to whichever
        # device was current first, and hipBLASLt cannot create its handle for a stream while that
        # stream is recorded.
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def warm_up(self, work: Work) -> None:
        """See `Recorder.warm_up`."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            work()
        current.wait_stream(self._stream)

    def record(self, work: Work) -> Work:
        """See `Recorder.record`."""
        graph = torch.cuda.CUDAGraph()
        current = torch.cuda.current_stream(self._device)
        with torch.cuda.device(self._device), _without_collection():
            # Other threads pin memory meanwhile, which the default mode would take for a fault.
            recording = torch.cuda.graph(
                graph, stream=self._stream, capture_error_mode="thread_local"
            )
            try:
                with recording:
                    work()
            finally:
                # torch leaves its stream as the current one if recording fails.
                torch.cuda.set_stream(current)
        replay: Work = graph.replay
        return replay

    def fetch(self, tensor: torch.Tensor) -> Fetched:
        """See `Recorder.fetch`."""
        copied = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        copied.copy_(tensor, non_blocking=True)
        # Blocking: it sleeps, so that threads that decode images have the core.
        done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        done.record(torch.cuda.current_stream(self._device))

        def wait() -> torch.Tensor:
            done.synchronize()
            return copied

        return wait


@contextmanager
def _without_collection() -> Iterator[None]:
    """Keep Python from collecting objects of the device, such as old graphs, while it records."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@lru_cache(maxsize=8)
def find_recorder(device: torch.device) -> Recorder | None:
    """Return the recorder of a device; `None`: it records nothing."""
    return CudaRecorder(device) if device.type == "cuda" else None


class RepeatedWork:
    """Work that runs as usual a few times, and is replayed from then on.

    If the device refuses to record it, it runs as usual for good, with a warning.

    Attributes:
        is_replayed: Whether the next run is a replay.
    """

    def __init__(self, work: Work, recorder: Recorder, *, what: str) -> None:
        """Keep the work.

        Args:
            work: The work.
            recorder: Its device.
            what: What the work does, for the warning.
        """
        self._work, self._recorder, self._what = work, recorder, what
        self._replay: Work | None = None
        self._num_runs = 0
        self._is_refused = False

    @property
    def is_replayed(self) -> bool:
        """Whether the next run is a replay."""
        return self._replay is not None

    def run(self) -> None:
        """Queue the work once.

        Raises:
            RuntimeError: Memory ran out.
        """
        if self._replay is None and not self._is_refused and self._num_runs >= _WARM_UPS:
            self._record()
        self._num_runs += 1
        if self._replay is not None:
            self._replay()
        else:
            self._recorder.warm_up(self._work)

    def _record(self) -> None:
        handled = sys.exc_info()[1]
        try:
            self._replay = self._recorder.record(self._work)
        except RuntimeError as error:
            causes = list(_chain(error, before=handled))
            for cause in filter(is_out_of_memory, causes):
                raise torch.OutOfMemoryError(str(cause)) from error
            self._is_refused = True
            reason = (str(causes[-1]).strip().splitlines() or [type(error).__name__])[0]
            warnings.warn(
                f"{self._what} is not replayed from a graph, and slower without: {reason}",
                stacklevel=3,
            )


def _chain(error: BaseException, *, before: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that led to it: ending a failed recording fails as well.

    Args:
        error: The error.
        before: One that was being handled already, which did not lead to it.
    """
    found: BaseException | None = error
    while found is not None and found is not before:
        yield found
        found = found.__context__
