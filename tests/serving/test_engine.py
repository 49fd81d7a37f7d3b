"""The queue in front of a model's processes, with processes that the test simulates."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from captune.recipe import GenerateConfig
from captune.records import Prediction
from captune.serving import ServerSettings
from captune.serving.engine import worker as worker_module
from captune.serving.engine.engine import Ask, Engine
from captune.serving.engine.messages import (
    BatchDone,
    Cancel,
    Captioned,
    CaptionImage,
    Dropped,
    Loaded,
    LoadFailed,
    Refused,
    Started,
    StillRunning,
)
from captune.serving.errors import ApiError
from captune.serving.watch.metrics import ServerMetrics
from support.serving.stub_model import served_stub

_CONFIG = GenerateConfig(num_beams=1)


@dataclass
class ScriptedProcess:
    """A process without a model: it keeps what it gets, and says what a test wants."""

    entry: str
    on_message: Any
    on_line: Any = None
    sent: list[Any] = field(default_factory=list)
    is_closed: bool = False
    process_id: int = 1

    def send(self, message: Any) -> None:
        self.sent.append(message)

    def close(self) -> None:
        self.is_closed = True

    @property
    def jobs(self) -> list[int]:
        return [message.job for message in self.sent if isinstance(message, CaptionImage)]


class Bench:
    """An engine, and its processes in the order of their starts."""

    def __init__(self, monkeypatch, tmp_path, **settings: Any) -> None:
        self.processes: list[ScriptedProcess] = []

        def start(entry, on_message, *, on_line=None):
            self.processes.append(ScriptedProcess(entry, on_message, on_line))
            return self.processes[-1]

        monkeypatch.setattr(worker_module, "ModelProcess", start)
        model = served_stub(tmp_path)
        self.engine = Engine(model, ServerSettings((model,), **settings), ServerMetrics())

    async def say(self, *messages: Any, process: int = -1) -> None:
        for message in messages:
            self.processes[process].on_message(message)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0.01)

    async def load(self) -> None:
        self.engine.start()
        await self.say(Loaded("a test", _CONFIG))

    def ask(self, *contents: bytes) -> asyncio.Task[Any]:
        async def caption():
            with self.engine.reserve(len(contents)) as room:
                asks = [Ask(str(n), content, (_CONFIG,)) for n, content in enumerate(contents)]
                return await self.engine.caption(asks, room)

        return asyncio.ensure_future(caption())


@pytest.fixture
def bench(monkeypatch, tmp_path):
    return lambda **settings: Bench(monkeypatch, tmp_path, **settings)


def _captioned(job: int, text: str = "a dog") -> Captioned:
    return Captioned(job, (Prediction("0", text, -0.5, 3, "eos"),), 0.01)


def test_jobs_that_had_not_started_go_to_the_next_process_in_their_order(bench):
    async def run():
        rig = bench(max_batch=2)
        await rig.load()
        asked = [rig.ask(bytes([n])) for n in range(8)]
        await rig.settle()
        first = rig.processes[0].jobs
        # Three batches of two are sent ahead.
        assert len(first) == 6
        await rig.say(Started(tuple(first[:2])), None)
        lost = await asyncio.gather(*asked[:2])
        assert [result[0].code for result in lost] == ["worker_lost"] * 2
        assert rig.processes[0].is_closed
        assert not rig.engine.is_ready
        assert rig.engine.depth == 6
        await rig.say(Loaded("a test", _CONFIG))
        second = rig.processes[1].jobs
        assert second == [*first[2:], *range(first[-1] + 1, first[-1] + 3)]
        await rig.say(*(_captioned(job) for job in second))
        answers = await asyncio.gather(*asked[2:])
        assert all(answer[0][0].caption == "a dog" for answer in answers)
        rig.engine.close()

    asyncio.run(run())


def test_an_image_whose_process_ends_repeatedly_is_given_up(bench):
    async def run():
        rig = bench()
        await rig.load()
        asked = rig.ask(b"a")
        for _ in range(3):
            await rig.settle()
            await rig.say(None)
            if not asked.done():
                await rig.say(Loaded("a test", _CONFIG))
        (error,) = await asked
        assert (error.code, error.status, error.retry_after) == ("worker_lost", 503, 1)
        rig.engine.close()

    asyncio.run(run())


def test_answers_of_a_process_that_was_replaced_are_ignored(bench):
    async def run():
        rig = bench()
        await rig.load()
        asked = rig.ask(b"a")
        await rig.settle()
        (job,) = rig.processes[0].jobs
        await rig.say(None)
        await rig.say(_captioned(job, "too late"), process=0)
        assert not asked.done()
        await rig.say(Loaded("a test", _CONFIG))
        await rig.say(_captioned(job, "in time"))
        assert (await asked)[0][0].caption == "in time"
        rig.engine.close()

    asyncio.run(run())


def test_a_cancelled_request_withdraws_its_images(bench):
    async def run():
        rig = bench(max_batch=1)
        await rig.load()
        asked = [rig.ask(bytes([n])) for n in range(5)]
        await rig.settle()
        sent = rig.processes[0].jobs
        assert len(sent) == 3
        await rig.say(Started((sent[0],)))
        for one in (asked[0], asked[1], asked[4]):
            one.cancel()
        await rig.settle()
        cancelled = [m.job for m in rig.processes[0].sent if isinstance(m, Cancel)]
        # The first is in the model, which may drop it; the last was never sent.
        assert sorted(cancelled) == sent[:2]
        assert rig.engine.depth == 2
        await rig.say(_captioned(sent[0]), BatchDone(1, 0.1))
        await rig.say(*(_captioned(job) for job in rig.processes[0].jobs[2:]))
        results = await asyncio.gather(asked[2], asked[3])
        assert all(result[0][0].caption == "a dog" for result in results)
        assert rig.engine.depth == 0
        rig.engine.close()

    asyncio.run(run())


def test_an_image_dropped_from_the_model_makes_room_and_is_nobodys_suspect(bench):
    async def run():
        rig = bench(max_batch=1)
        await rig.load()
        asked = [rig.ask(bytes([n])) for n in range(4)]
        await rig.settle()
        sent = rig.processes[0].jobs
        await rig.say(Started((sent[0],)))
        asked[0].cancel()
        await rig.settle()
        assert rig.processes[0].sent[-1] == Cancel(sent[0])
        assert len(rig.processes[0].jobs) == 3
        await rig.say(Dropped(sent[0]))
        assert len(rig.processes[0].jobs) == 4
        # Its end concerns only the images that were in the model then.
        await rig.say(Started((sent[1],)), None)
        await rig.say(Loaded("a test", _CONFIG))
        again = rig.ask(b"\0")
        await rig.settle()
        last = [m for m in rig.processes[1].sent if isinstance(m, CaptionImage)][-1]
        assert (last.content, last.is_alone) == (b"\0", False)
        for task in (again, *asked):
            task.cancel()
        rig.engine.close()

    asyncio.run(run())


def test_reserved_places_count_and_are_released(bench):
    async def run():
        rig = bench(max_queue=4)
        await rig.load()
        with rig.engine.reserve(3):
            assert rig.engine.depth == 3
            with pytest.raises(ApiError) as caught:
                rig.engine.check_room(2)
            assert (caught.value.status, caught.value.code) == (429, "queue_full")
        assert rig.engine.depth == 0
        with pytest.raises(ApiError) as caught:
            rig.engine.check_room(5)
        assert caught.value.status == 413
        rig.engine.close()

    asyncio.run(run())


def test_a_process_that_hangs_is_replaced(bench, monkeypatch):
    monkeypatch.setattr("captune.serving.engine.engine._SECONDS_AFTER_DEADLINE", 0.0)

    async def run():
        rig = bench(deadline=0.2)
        await rig.load()
        asked = rig.ask(b"a")
        await rig.settle()
        await rig.say(Started(tuple(rig.processes[0].jobs)))
        (error,) = await asyncio.wait_for(asked, 5)
        assert error.code == "worker_lost"
        assert rig.processes[0].is_closed
        assert len(rig.processes) == 2
        rig.engine.close()

    asyncio.run(run())


def test_a_process_that_hangs_on_an_image_withdrawn_as_it_started_is_replaced(bench, monkeypatch):
    monkeypatch.setattr("captune.serving.engine.engine._SECONDS_AFTER_DEADLINE", 0.0)

    async def run():
        rig = bench(deadline=0.2)
        await rig.load()
        asked, other = rig.ask(b"a"), rig.ask(b"b")
        await rig.settle()
        first, _ = rig.processes[0].jobs
        asked.cancel()
        # The process has taken the image before it reads that nobody wants it.
        await rig.say(Started((first,)))
        await asyncio.sleep(0.3)
        assert rig.processes[0].is_closed
        await rig.say(Loaded("a test", _CONFIG))
        await rig.say(_captioned(rig.processes[1].jobs[0]))
        assert (await asyncio.wait_for(other, 1))[0][0].caption == "a dog"
        rig.engine.close()

    asyncio.run(run())


def test_a_process_that_reports_tokens_does_not_hang(bench, monkeypatch):
    monkeypatch.setattr("captune.serving.engine.engine._SECONDS_AFTER_DEADLINE", 0.0)

    async def run():
        rig = bench(deadline=0.3)
        await rig.load()
        asked = rig.ask(b"a")
        await rig.settle()
        (job,) = rig.processes[0].jobs
        await rig.say(Started((job,)))
        for _ in range(6):
            await asyncio.sleep(0.1)
            await rig.say(StillRunning())
        await rig.say(_captioned(job))
        assert (await asked)[0][0].caption == "a dog"
        assert len(rig.processes) == 1
        rig.engine.close()

    asyncio.run(run())


def test_a_device_that_cannot_load_the_model_is_an_error_although_another_can(bench):
    async def run():
        rig = bench()
        model = replace(rig.engine.model, devices=("cpu", "cuda:9"))
        rig.engine = Engine(model, ServerSettings((model,)), ServerMetrics())
        rig.engine.start()
        await rig.say(LoadFailed(RuntimeError("no such device")), process=1)
        await rig.say(Loaded("a test", _CONFIG), process=0)
        assert rig.engine.is_ready
        assert not rig.engine.has_loaded
        assert "no such device" in str(rig.engine.load_error)
        rig.engine.close()

    asyncio.run(run())


def test_a_failed_load_is_recorded_and_so_is_a_process_that_ends_three_times_while_loading(
    bench, monkeypatch
):
    monkeypatch.setattr("captune.serving.engine.worker._MAX_PAUSE", 0.01)

    async def run():
        failing = bench()
        failing.engine.start()
        await failing.say(LoadFailed(RuntimeError("no such file")))
        assert "no such file" in str(failing.engine.load_error)
        failing.engine.close()

        ending = bench()
        ending.engine.start()
        for _ in range(3):
            await ending.settle()
            assert ending.engine.load_error is None
            await ending.say(None)
        assert "ended 3 times" in str(ending.engine.load_error)
        ending.engine.close()

    asyncio.run(run())


def test_starting_a_process_is_retried_if_the_system_refuses(bench, monkeypatch):
    monkeypatch.setattr("captune.serving.engine.worker._MAX_PAUSE", 0.05)

    async def run():
        rig = bench()
        start = worker_module.ModelProcess
        failures = [OSError(11, "no more processes"), RuntimeError("can't start new thread")]

        def fail_once(*words, **settings):
            if failures:
                raise failures.pop()
            return start(*words, **settings)

        monkeypatch.setattr(worker_module, "ModelProcess", fail_once)
        rig.engine.start()
        await asyncio.sleep(0.4)
        await rig.say(Loaded("a test", _CONFIG))
        assert rig.engine.is_ready
        rig.engine.close()

    asyncio.run(run())


def test_a_refused_image_gets_the_error_of_its_reason(bench):
    async def run():
        rig = bench()
        await rig.load()
        asked = rig.ask(b"a", b"b")
        await rig.settle()
        first, second = rig.processes[0].jobs
        await rig.say(Refused(first, "too_many_pixels", "9000 x 9000"), _captioned(second))
        error, captions = await asked
        assert (error.status, error.code) == (413, "image_too_large")
        assert captions[0].caption == "a dog"
        rig.engine.close()

    asyncio.run(run())


def test_an_image_that_ended_two_processes_is_answered_without_a_third(bench):
    async def run():
        rig = bench()
        await rig.load()
        first = rig.ask(b"poison", b"good")
        await rig.settle()
        await rig.say(Started(tuple(rig.processes[0].jobs)), None)
        assert [error.code for error in await first] == ["worker_lost", "worker_lost"]
        await rig.say(Loaded("a test", _CONFIG))
        # Either may be to blame, so each is alone in its batch now.
        second, other = rig.ask(b"poison"), rig.ask(b"good", b"new")
        await rig.settle()
        sent = [m for m in rig.processes[1].sent if isinstance(m, CaptionImage)]
        assert [(m.content, m.is_alone) for m in sent] == [
            (b"poison", True),
            (b"good", True),
            (b"new", False),
        ]
        await rig.say(_captioned(sent[1].job), _captioned(sent[2].job))
        assert len(await other) == 2
        await rig.say(Started((sent[0].job,)), None)
        assert [error.code for error in await second] == ["worker_crash"]
        await rig.say(Loaded("a test", _CONFIG))
        (error,) = await asyncio.wait_for(rig.ask(b"poison"), 1)
        assert (error.status, error.code, error.retry_after) == (500, "worker_crash", None)
        assert rig.engine.depth == 0
        third = rig.ask(b"good")
        await rig.settle()
        (again,) = [m for m in rig.processes[2].sent if isinstance(m, CaptionImage)]
        # It was captioned alone, so it may share batches again.
        assert (again.content, again.is_alone) == (b"good", False)
        await rig.say(_captioned(again.job))
        await third
        rig.engine.close()

    asyncio.run(run())


def test_copies_of_an_image_in_one_batch_are_one_suspicion(bench):
    async def run():
        rig = bench()
        await rig.load()
        asked = rig.ask(b"same", b"same", b"same")
        await rig.settle()
        await rig.say(Started(tuple(rig.processes[0].jobs)), None)
        assert [error.code for error in await asked] == ["worker_lost"] * 3
        rig.engine.close()

    asyncio.run(run())


def test_copies_of_a_poisoned_image_that_wait_are_answered_once_it_is_known(bench):
    async def run():
        rig = bench(max_batch=1)
        await rig.load()
        asked = [rig.ask(b"poison") for _ in range(8)]
        for process in range(2):
            await rig.settle()
            jobs = rig.processes[process].jobs
            await rig.say(Started((jobs[0],)), None)
            await rig.say(Loaded("a test", _CONFIG))
        answers = [error.code for (error,) in await asyncio.wait_for(asyncio.gather(*asked), 5)]
        assert answers == ["worker_lost", *["worker_crash"] * 7]
        assert len(rig.processes) == 3
        assert rig.processes[2].jobs == []
        rig.engine.close()

    asyncio.run(run())


def test_a_request_that_was_let_in_before_the_end_is_still_captioned(bench):
    async def run():
        rig = bench()
        await rig.load()
        rig.engine.is_draining = True
        # No new request is let in, but one whose body was arriving is accepted.
        assert rig.engine.num_free == 0
        assert rig.engine.refusal().status == 503
        asked = rig.ask(b"a")
        await rig.settle()
        await rig.say(_captioned(rig.processes[0].jobs[0]))
        assert (await asked)[0][0].caption == "a dog"
        rig.engine.close()

    asyncio.run(run())
