"""Processes that hang, cannot load their model or cannot be started; a test simulates them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from captune.serving import ServerSettings
from captune.serving.engine import worker as worker_module
from captune.serving.engine.engine import Engine
from captune.serving.engine.messages import Loaded, LoadFailed, Started, StillRunning
from captune.serving.watch.metrics import ServerMetrics
from support.serving.scripted_engine import CONFIG, Bench, captioned


@pytest.fixture
def bench(monkeypatch, tmp_path):
    return lambda **settings: Bench(monkeypatch, tmp_path, **settings)


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
        # The process has taken the image before it reads that it is withdrawn.
        await rig.say(Started((first,)))
        await asyncio.sleep(0.3)
        assert rig.processes[0].is_closed
        await rig.say(Loaded("a test", CONFIG))
        await rig.say(captioned(rig.processes[1].jobs[0]))
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
        await rig.say(captioned(job))
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
        await rig.say(Loaded("a test", CONFIG), process=0)
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


def test_a_process_that_cannot_be_sent_an_image_is_replaced(bench, monkeypatch):
    async def run():
        rig = bench()
        await rig.load()

        def lacks_memory(process, message):
            raise MemoryError

        monkeypatch.setattr(type(rig.processes[0]), "send", lacks_memory)
        asked = rig.ask(b"large")
        await rig.settle()
        assert rig.processes[0].is_closed
        asked.cancel()
        rig.engine.close()

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
        await rig.say(Loaded("a test", CONFIG))
        assert rig.engine.is_ready
        rig.engine.close()

    asyncio.run(run())
