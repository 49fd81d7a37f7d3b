"""The parent's side: a captioner whose model is in another process, restarted when it ends.

A crash or a hang raises `WorkerEndedError` from the stream; the run then searches for the image at
fault, as for any other error of the model.
"""

from __future__ import annotations

import itertools
import queue
import warnings
from collections.abc import Generator, Iterable, Iterator

from captune.bulk.worker.wire import (
    USUAL_BATCH,
    Broken,
    Complete,
    Done,
    Failed,
    Images,
    Message,
    Ready,
    StartStream,
    Want,
)
from captune.data import DecodeMode, ImageDecoder
from captune.errors import CaptuneError, ModelError
from captune.inference import AnyImage, OnFailure, RunRequest
from captune.recipe import GenerateConfig
from captune.records import Prediction
from captune.storage import RESUMES, read_seconds
from captune.workers import ModelProcess, Warned

# A batch on a slow CPU may take minutes, and so may loading a model from a network disk.
_MAX_SECONDS = 900.0
_LIMIT_NAME = "CAPTUNE_WORKER_SECONDS"


class WorkerEndedError(RuntimeError):
    """The process with the model crashed or hung.

    Attributes:
        code: `worker_crash` or `worker_hang`.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class WorkerLostError(CaptuneError):
    """The process with the model ended, and another one cannot load it; the run can be resumed."""


class WorkerCaptioner:
    """Captions in a child process; see `LoadedCaptioner`."""

    def __init__(self, request: RunRequest) -> None:
        """Start the process and load the model.

        Raises:
            CaptuneError: What loading the model raises.
            ModelError: The process does not start.
        """
        self._request = request
        self._process: _Process | None = None
        self._hardware = self._start().hardware

    def describe(self) -> str:
        """Return what runs the model."""
        return self._hardware

    def complete(self, decoding: GenerateConfig) -> GenerateConfig:
        """Return the settings, with unset ones filled in from the model's own."""
        process = self._running()
        process.send(Complete(decoding))
        answer = process.next_message()
        if isinstance(answer, GenerateConfig):
            return answer
        raise answer.error if isinstance(answer, Broken) else EOFError(str(answer))

    def stream(
        self,
        images: Iterable[tuple[str, AnyImage]],
        *,
        config: GenerateConfig,
        batch_size: int | None = None,
        decode: DecodeMode | ImageDecoder = "isolated",
        on_failure: OnFailure | None = None,
    ) -> Generator[Prediction]:
        """Yield one caption per image, in order; see `LoadedCaptioner.stream`.

        Raises:
            WorkerEndedError: The process crashed or hung.
            WorkerLostError: It ended before, and another one cannot load the model.
            Exception: The model's own error.
        """
        assert isinstance(decode, str)
        assert on_failure is not None
        process, source, is_complete = self._running(), iter(images), False
        try:
            process.send(StartStream(config, batch_size, decode))
            while True:
                message = process.next_message()
                if isinstance(message, Want):
                    process.send(Images(tuple(itertools.islice(source, batch_size or USUAL_BATCH))))
                elif isinstance(message, Prediction):
                    yield message
                elif isinstance(message, Failed):
                    on_failure(message.name, message.error)
                elif isinstance(message, Broken):
                    raise message.error
                elif isinstance(message, Done):
                    is_complete = True
                    return
        finally:
            if not is_complete:
                # Answers to this stream may still arrive.
                self.close()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _running(self) -> _Process:
        if self._process is None:
            try:
                self._start()
            except ModelError as error:
                # No image is at fault: a search for one would list all of them as failed.
                fix = f"{error.fix}; then {RESUMES}" if error.fix else RESUMES
                raise WorkerLostError(error.what, where=error.where, fix=fix) from error
        assert self._process is not None
        return self._process

    def _start(self) -> Ready:
        self._process = _Process()
        try:
            self._process.send(self._request)
            answer = self._process.next_message()
            if isinstance(answer, Ready):
                return answer
            if isinstance(answer, Broken):
                raise answer.as_load_error() from answer.error
            raise ModelError(
                f"the process with the model answered {answer}",
                fix="install the same version of captune everywhere, then run the same"
                " command again",
            )
        except WorkerEndedError as error:
            raise ModelError(
                f"the process that loads the model ended: {error}",
                fix="free some memory, or choose a smaller model; the lines above may show"
                " the reason",
            ) from error
        finally:
            if self._process is not None and not self._process.is_ready:
                self.close()


class _Process:
    """The process, and its answers in order; waiting for one has a time limit."""

    def __init__(self) -> None:
        self._messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._child = ModelProcess("captune.bulk.worker.child:run_model", self._messages.put)
        self._seconds = read_seconds(_LIMIT_NAME, _MAX_SECONDS)
        self.is_ready = False

    def send(self, message: Message) -> None:
        """Write a message; a process that is gone is noticed when its answer is read."""
        self._child.send(message)

    def next_message(self) -> Message:
        """Wait for the next message.

        Raises:
            WorkerEndedError: The process is gone, or has been silent for too long.
        """
        for message in self._wait():
            if isinstance(message, Warned):
                warnings.warn(message.text, stacklevel=1)
                continue
            self.is_ready = self.is_ready or isinstance(message, Ready)
            return message
        raise self._explain()

    def _wait(self) -> Iterator[Message]:
        while True:
            try:
                message = self._messages.get(timeout=self._seconds)
            except queue.Empty:
                raise WorkerEndedError(
                    "worker_hang", f"no answer from the model for {self._seconds:.0f} s"
                ) from None
            if message is None:
                return
            yield message

    def _explain(self) -> WorkerEndedError:
        code = self._child.wait()
        return WorkerEndedError(
            "worker_crash", f"the process with the model ended with code {code}"
        )

    def close(self) -> None:
        """Kill the process."""
        self._child.close()
