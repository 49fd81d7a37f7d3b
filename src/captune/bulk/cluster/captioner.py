"""The run's side: a captioner whose models are actors on the nodes of a Ray cluster.

The run keeps the plan, the journal and the writing, as on one machine; actors receive images and
return one answer per image. Images that a dead actor has not answered go to other actors, and a
second answer to an image is dropped, so no image is lost or written twice.
"""

from __future__ import annotations

import itertools
import os
import time
import warnings
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import captune
from captune.bulk.cluster.actor import ActorJob, image_file
from captune.bulk.cluster.connection import ActorEndedError, Cluster
from captune.bulk.cluster.seat import NamedImage, Seat
from captune.bulk.cluster.slots import choose_shape
from captune.bulk.worker.wire import (
    Broken,
    Failed,
    Message,
    Ready,
    StartStream,
)
from captune.data import DecodeMode, ImageDecoder
from captune.errors import ClusterError, ImageError, ModelError
from captune.inference import AnyImage, OnFailure, RunRequest
from captune.recipe import GenerateConfig
from captune.records import Prediction
from captune.storage import read_seconds
from captune.suggest import format_count
from captune.workers import Warned

_SECONDS_NAME = "CAPTUNE_RAY_SECONDS"
_MAX_SILENCE = 300.0
_MAY_BE_GPU = ("auto", "cuda")
_PASSED_ON = ("CAPTUNE_WORKER_SECONDS", "CAPTUNE_CACHE")
# An image held by three actors that died is tried alone; if two more die of it, it is at fault. Not
# one more: a node that is taken away, or a process that is killed, looks the same.
_MAX_DEATHS = 3
_MAX_DEATHS_ALONE = 2
# Failed starts in a row, per actor, after which the run gives up.
_MAX_BAD_STARTS = 3
_SECONDS_BETWEEN_LOOKS = 5.0
_Answer = Prediction | Failed


class RayCaptioner:
    """Captions on a cluster; see `LoadedCaptioner`."""

    def __init__(self, request: RunRequest, *, num_actors: int | None = None) -> None:
        """Join the cluster, and wait until the first model is loaded.

        Raises:
            CaptuneError: What loading a model raises.
            MissingExtraError: Ray is not installed.
            RecipeError: The cluster does not answer, or has no room for the actors.
            ModelError: Every actor ends before its model is loaded.
            ClusterError: No actor answers in time.
        """
        passed_on = [(name, os.environ[name]) for name in _PASSED_ON if name in os.environ]
        self._job = ActorJob(request, str(Path.cwd()), captune.__version__, tuple(passed_on))
        self._max_silence = read_seconds(_SECONDS_NAME, _MAX_SILENCE)
        self._seats: list[Seat] = []
        self._start: StartStream | None = None
        self._config: GenerateConfig | None = None
        self._hardware = ""
        self._lost: deque[NamedImage] = deque()
        self._suspects: deque[NamedImage] = deque()
        self._emptied: Seat | None = None
        self._num_deaths: Counter[str] = Counter()
        self._num_bad_starts = 0
        self._num_actors = num_actors
        self._is_closed = False
        self._cluster = Cluster()
        self._heard = self._looked = time.monotonic()
        with ExitStack() as opened:
            opened.callback(self.close)
            self._shape = choose_shape(
                self._cluster.nodes(),
                wants_gpus=request.device in _MAY_BE_GPU,
                num_actors=num_actors,
            )
            self._add_seats(self._num_wanted())
            while not self._hardware:
                self._hear()
            opened.pop_all()

    def describe(self) -> str:
        """Return what runs the model."""
        return f"{self._hardware}, {format_count(len(self._seats), 'actor')} of a Ray cluster"

    def complete(self, decoding: GenerateConfig) -> GenerateConfig:
        """Return the settings, with unset ones filled in from the model's own."""
        asked: list[Seat] = []
        while self._config is None:
            for seat in self._seats:
                if seat.is_ready and seat not in asked:
                    asked.append(seat)
                    seat.complete(decoding)
            self._hear()
        return self._config

    def stream(
        self,
        images: Iterable[tuple[str, AnyImage]],
        *,
        config: GenerateConfig,
        batch_size: int | None = None,
        decode: DecodeMode | ImageDecoder = "isolated",
        on_failure: OnFailure | None = None,
    ) -> Generator[Prediction]:
        """Yield one caption per image, in any order; see `LoadedCaptioner.stream`.

        Raises:
            ClusterError: The actors do not answer, or cannot read the images.
        """
        assert isinstance(decode, str)
        assert on_failure is not None
        source, is_complete = iter(images), False
        self._start = StartStream(config, batch_size, decode)
        for seat in self._seats:
            seat.begin(self._start)
        try:
            while self._give(source) or any(seat.images for seat in self._seats):
                for answer in self._hear():
                    if isinstance(answer, Prediction):
                        yield answer
                    else:
                        on_failure(answer.name, answer.error)
            is_complete = True
        finally:
            if not is_complete:
                self.close()

    def close(self) -> None:
        """End the actors and leave the cluster."""
        for seat in self._seats:
            self._cluster.end(seat.actor)
        self._seats = []
        self._is_closed = True
        self._cluster.leave()

    def _num_wanted(self) -> int:
        if self._num_actors is not None:
            return self._num_actors
        return max(1, self._shape.slots(self._cluster.nodes()))

    def _add_seats(self, number: int) -> None:
        while len(self._seats) < number:
            self._seats.append(Seat(self._cluster.start(self._job, self._shape)))

    def _give(self, source: Iterator[NamedImage]) -> bool:
        """Give images to actors that have few; return whether any may be left to give."""
        may_have_more = True
        for seat in self._seats:
            number = seat.num_wanted()
            if not number or self._try_suspect(seat):
                continue
            given = [self._lost.popleft() for _ in range(min(number, len(self._lost)))]
            given = given or list(itertools.islice(source, number))
            may_have_more = bool(given)
            seat.give(given)
        return may_have_more or bool(self._lost or self._suspects)

    def _try_suspect(self, seat: Seat) -> bool:
        """Let one actor finish what it has, then try a suspect; return whether this is the one.

        At once, not after all others: captions are written in order, and those after it wait.
        """
        if not self._suspects:
            return False
        if self._emptied not in self._seats:
            self._emptied = seat
        if seat is not self._emptied:
            return False
        if not seat.images:
            seat.is_alone, self._emptied = True, None
            seat.give([self._suspects.popleft()])
        return True

    def _hear(self) -> list[_Answer]:
        """Wait up to a second for messages; return the answers among them.

        Raises:
            CaptuneError: No actor can do the work.
            ClusterError: No actor has answered for too long, or the cluster was left before.
        """
        if self._is_closed:
            raise ClusterError("the Ray cluster was left", fix="the same command resumes the run")
        self._look()
        seats = {seat.answers: seat for seat in self._seats}
        answers: list[_Answer] = []
        for arrived in self._cluster.wait(list(seats), 1.0):
            seat = seats[arrived]
            try:
                messages = self._cluster.read(arrived)
            except ActorEndedError as error:
                answers += self._lose(seat, error)
                continue
            self._heard = time.monotonic()
            # At the end of the list, so that every actor gets its turn.
            self._seats.remove(seat)
            self._seats.append(seat)
            seat.ask_again()
            for message in messages:
                if seat in self._seats:
                    answers += self._sort(seat, message)
        silence = time.monotonic() - self._heard
        if silence > self._max_silence:
            raise ClusterError(
                f"no actor of the Ray cluster has answered for {silence:.0f} s",
                where="--engine ray",
                fix="check `ray status`; the same command resumes the run",
            )
        return answers

    def _look(self) -> None:
        """Start actors on nodes that have joined, and replace those that did not start."""
        now = time.monotonic()
        if now - self._looked > _SECONDS_BETWEEN_LOOKS * max(1, self._num_bad_starts):
            self._looked = now
            self._add_seats(self._num_wanted())

    def _sort(self, seat: Seat, message: Message) -> list[_Answer]:
        """Act on a message; return it if it answers an image that still needs an answer."""
        if isinstance(message, Prediction):
            return [message] if seat.answered(message.image_id) else []
        if isinstance(message, Failed):
            _refuse_hidden(message, seat.images.get(message.name))
            return [message] if seat.answered(message.name) else []
        if isinstance(message, Broken):
            return self._lose(seat, message.error)
        if isinstance(message, Ready):
            seat.is_ready, self._hardware = True, message.hardware
            self._num_bad_starts = 0
            if self._start is not None:
                seat.begin(self._start)
        elif isinstance(message, GenerateConfig):
            self._config = message
        elif isinstance(message, Warned):
            warnings.warn(message.text, stacklevel=1)
        return []

    def _lose(self, seat: Seat, error: Exception) -> list[_Answer]:
        """Replace an actor that ended, and return the failure of an image that it was trying alone.

        Raises:
            CaptuneError: No actor can do the work.
        """
        self._seats.remove(seat)
        self._cluster.end(seat.actor)
        is_own_fault = not seat.is_ready or not isinstance(error, ActorEndedError)
        self._num_bad_starts += is_own_fault
        if is_own_fault and not any(one.is_ready for one in self._seats):
            self._raise_if_hopeless(error)
        if not is_own_fault:
            self._add_seats(self._num_wanted())
        return self._take_back(seat, error)

    def _take_back(self, seat: Seat, error: Exception) -> list[_Answer]:
        """Sort the images of an actor that ended: to others, to the suspects, or as failed."""
        answers: list[_Answer] = []
        lost: list[NamedImage] = []
        for place, (name, image) in enumerate(seat.images.items()):
            # An actor works in this order: the images behind were not in its model yet.
            self._num_deaths[name] += place < seat.num_at_work
            if self._num_deaths[name] < _MAX_DEATHS:
                lost.append((name, image))
            elif not seat.is_alone:
                self._suspects.append((name, image))
            elif self._num_deaths[name] < _MAX_DEATHS + _MAX_DEATHS_ALONE:
                # Before the others, which may have been with it only.
                self._suspects.appendleft((name, image))
            else:
                reason = f"the actor with the model ended on this image several times: {error}"
                answers.append(Failed(name, ImageError("worker_crash", fix=reason)))
        self._lost.extendleft(reversed(lost))
        return answers

    def _raise_if_hopeless(self, error: Exception) -> None:
        if not isinstance(error, ActorEndedError):
            if self._start is None:
                raise Broken(error).as_load_error("--engine ray") from error
            where, fix = getattr(error, "where", ""), getattr(error, "fix", "")
            raise ClusterError(getattr(error, "what", str(error)), where=where, fix=fix) from error
        if self._num_bad_starts >= _MAX_BAD_STARTS * self._num_wanted():
            raise ModelError(
                f"no actor can load the model: {error}",
                where="--engine ray",
                fix="check that all nodes have captune installed, and enough memory",
            )


def _refuse_hidden(failed: Failed, image: AnyImage | None) -> None:
    """Stop if a node cannot find a file that is here: every image would be listed as failed."""
    file = None if image is None else image_file(image)
    if failed.error.what == "missing" and file is not None and file.exists():
        raise ClusterError(
            f"a node of the Ray cluster cannot find {file}, which this machine has",
            where="--engine ray",
            fix="keep the images on a file system that all nodes share, or in object storage",
        )
