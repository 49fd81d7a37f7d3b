"""The queue in front of a model's processes, with processes that the test simulates."""

from __future__ import annotations

import asyncio

import pytest

from captune.serving.engine.messages import (
    BatchDone,
    Cancel,
    CaptionImage,
    Dropped,
    Loaded,
    Refused,
    Started,
)
from captune.serving.errors import ApiError
from support.serving.scripted_engine import CONFIG, Bench, captioned


@pytest.fixture
def bench(monkeypatch, tmp_path):
    return lambda **settings: Bench(monkeypatch, tmp_path, **settings)


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
        await rig.say(Loaded("a test", CONFIG))
        second = rig.processes[1].jobs
        assert second == [*first[2:], *range(first[-1] + 1, first[-1] + 3)]
        await rig.say(*(captioned(job) for job in second))
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
                await rig.say(Loaded("a test", CONFIG))
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
        await rig.say(captioned(job, "too late"), process=0)
        assert not asked.done()
        await rig.say(Loaded("a test", CONFIG))
        await rig.say(captioned(job, "in time"))
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
        await rig.say(captioned(sent[0]), BatchDone(1, 0.1))
        await rig.say(*(captioned(job) for job in rig.processes[0].jobs[2:]))
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
        await rig.say(Loaded("a test", CONFIG))
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
            assert rig.engine.depth == rig.shown_depth == 3
            with pytest.raises(ApiError) as caught:
                rig.engine.check_room(2)
            assert (caught.value.status, caught.value.code) == (429, "queue_full")
        assert rig.engine.depth == rig.shown_depth == 0
        with pytest.raises(ApiError) as caught:
            rig.engine.check_room(5)
        assert caught.value.status == 413
        rig.engine.close()

    asyncio.run(run())


def test_a_refused_image_gets_the_error_of_its_reason(bench):
    async def run():
        rig = bench()
        await rig.load()
        asked = rig.ask(b"a", b"b")
        await rig.settle()
        first, second = rig.processes[0].jobs
        await rig.say(Refused(first, "too_many_pixels", "9000 x 9000"), captioned(second))
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
        await rig.say(Loaded("a test", CONFIG))
        # Either may be to blame, so each is alone in its batch now.
        second, other = rig.ask(b"poison"), rig.ask(b"good", b"new")
        await rig.settle()
        sent = [m for m in rig.processes[1].sent if isinstance(m, CaptionImage)]
        assert [(m.content, m.is_alone) for m in sent] == [
            (b"poison", True),
            (b"good", True),
            (b"new", False),
        ]
        await rig.say(captioned(sent[1].job), captioned(sent[2].job))
        assert len(await other) == 2
        await rig.say(Started((sent[0].job,)), None)
        assert [error.code for error in await second] == ["worker_crash"]
        await rig.say(Loaded("a test", CONFIG))
        (error,) = await asyncio.wait_for(rig.ask(b"poison"), 1)
        assert (error.status, error.code, error.retry_after) == (500, "worker_crash", None)
        assert rig.engine.depth == 0
        third = rig.ask(b"good")
        await rig.settle()
        (again,) = [m for m in rig.processes[2].sent if isinstance(m, CaptionImage)]
        # It was captioned alone, so it may share batches again.
        assert (again.content, again.is_alone) == (b"good", False)
        await rig.say(captioned(again.job))
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
            await rig.say(Loaded("a test", CONFIG))
        answers = [error.code for (error,) in await asyncio.wait_for(asyncio.gather(*asked), 5)]
        assert answers == ["worker_lost", *["worker_crash"] * 7]
        assert len(rig.processes) == 3
        assert rig.processes[2].jobs == []
        rig.engine.close()

    asyncio.run(run())


def test_a_request_that_was_let_in_before_the_end_is_stillcaptioned(bench):
    async def run():
        rig = bench()
        await rig.load()
        rig.engine.is_draining = True
        # No new request is let in, but one whose body was arriving is accepted.
        assert rig.engine.num_free == 0
        assert rig.engine.refusal().status == 503
        asked = rig.ask(b"a")
        await rig.settle()
        await rig.say(captioned(rig.processes[0].jobs[0]))
        assert (await asked)[0][0].caption == "a dog"
        rig.engine.close()

    asyncio.run(run())
