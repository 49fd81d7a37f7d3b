"""How the server ends, how its processes end, and what it does while a model is not ready."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import httpx
import pytest
import uvicorn

from captune.serving.app import build_app
from captune.serving.run import _Server
from captune.serving.settings import ServerSettings
from support.bulk.stub_captioner import Behaviour, poison, write_stub
from support.serving.live_server import family, live_server
from support.serving.pictures import encoded, png, stub_caption

pytestmark = pytest.mark.skipif("os.name == 'nt'", reason="signals")

PNG_BODY = {"content-type": "image/png"}
_OTHER_SIGNALS = (signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT))
_SLOW = Behaviour(seconds_per_batch=0.3, seconds_per_image=0.01)


def _is_running(process_id: int) -> bool:
    try:
        with open(f"/proc/{process_id}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _wait_gone(process_ids, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while any(map(_is_running, process_ids)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not [one for one in process_ids if _is_running(one)]


async def _post(client, number: int) -> httpx.Response:
    return await client.post("/v1/caption", content=png(number), headers=PNG_BODY)


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, *(pytest.param(n, marks=pytest.mark.slow) for n in _OTHER_SIGNALS)],
)
def test_a_signal_lets_accepted_requests_finish_and_leaves_nothing_running(tmp_path, number):
    write_stub(tmp_path / "stub", behaviour=_SLOW)

    async def run(server):
        async with server.asynchronous() as client, server.asynchronous() as late:
            asked = [asyncio.ensure_future(_post(client, n)) for n in range(40)]
            await asyncio.sleep(0.5)
            assert (await late.get("/readyz")).status_code == 200
            server.process.send_signal(number)
            await asyncio.sleep(0.05)
            try:
                refused = (await late.get("/readyz")).status_code
            except httpx.TransportError:
                refused = 503
            return await asyncio.gather(*asked), refused

    with live_server(tmp_path, ["stub"], "--max-batch", 8) as running:
        running_processes = family(running.process.pid)
        answers, refused = asyncio.run(run(running))
        assert refused == 503
        assert [answer.status_code for answer in answers] == [200] * 40
        for n, answer in enumerate(answers):
            assert answer.json()["results"][0]["caption"] == stub_caption(n)
        assert running.process.wait(30) == 0
        _wait_gone(running_processes)
        assert running.events("draining")


def test_a_signal_that_nohup_ignores_does_not_end_the_server():
    _, state = build_app(ServerSettings(models=()))
    server = _Server(uvicorn.Config("no:app"), state)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with server.capture_signals():
            signal.raise_signal(signal.SIGHUP)
            assert not server.should_exit
            signal.raise_signal(signal.SIGTERM)
            assert server.should_exit
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_a_second_signal_ends_the_server_at_once(tmp_path):
    write_stub(tmp_path / "stub", behaviour=Behaviour(seconds_per_batch=60.0))
    with live_server(tmp_path, ["stub"]) as running:
        processes = family(running.process.pid)

        async def run():
            async with running.asynchronous() as client:
                asked = asyncio.ensure_future(_post(client, 1))
                await asyncio.sleep(0.5)
                running.process.send_signal(signal.SIGTERM)
                await asyncio.sleep(0.5)
                running.process.send_signal(signal.SIGTERM)
                await asyncio.wait({asked}, timeout=20)
                asked.cancel()

        asyncio.run(run())
        running.process.wait(20)
        _wait_gone(processes)


@pytest.mark.slow
def test_an_idle_server_ends_within_seconds(tmp_path):
    write_stub(tmp_path / "stub")
    with live_server(tmp_path, ["stub"]) as running, running.client() as idle:
        assert idle.get("/livez").status_code == 200
        began = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - began < 10


@pytest.mark.slow
def test_a_killed_server_leaves_no_process(tmp_path):
    write_stub(tmp_path / "stub", behaviour=Behaviour(seconds_per_batch=60.0))
    with live_server(tmp_path, ["stub"]) as running:
        with running.client(timeout=1.0) as client, pytest.raises(httpx.ReadTimeout):
            client.post("/v1/caption", content=png(), headers=PNG_BODY)
        processes = family(running.process.pid)
        assert len(processes) >= 3
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait()
        _wait_gone(processes)


@pytest.mark.slow
def test_requests_while_the_model_loads_get_503(tmp_path):
    write_stub(tmp_path / "stub")
    with live_server(tmp_path, ["stub"], is_ready=False) as running, running.client() as client:
        answer = client.post("/v1/caption", content=png(), headers=PNG_BODY)
        ready = client.get("/readyz")
        assert client.get("/livez").status_code == 200
        if ready.status_code == 503:
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
            assert int(answer.headers["retry-after"]) >= 1
            assert ready.json()["models"] == ["stub"]
        running.wait_ready()
        assert client.post("/v1/caption", content=png(), headers=PNG_BODY).status_code == 200


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_ends_the_server_with_its_error(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text('{"model_type": "no-such-type"}')
    write_stub(tmp_path / "stub")
    with live_server(tmp_path, ["stub", "broken"], is_ready=False) as running:
        processes = family(running.process.pid)
        assert running.process.wait(60) == 2
        text = running.log.read_text()
        assert "error" in text.lower()
        assert "broken" in text
        assert "Traceback" not in text
        _wait_gone(processes)


@pytest.mark.slow
def test_a_worker_killed_under_load_costs_at_most_one_batch(tmp_path):
    write_stub(tmp_path / "stub", behaviour=_SLOW)

    async def run(server):
        async with server.asynchronous() as client:
            answers = []

            async def ask(count):
                for n in range(count):
                    answers.append(await _post(client, n))

            asking = [asyncio.ensure_future(ask(5)) for _ in range(16)]
            await asyncio.sleep(1.0)
            (victim,) = server.workers()
            began = time.monotonic()
            os.kill(victim, signal.SIGKILL)
            statuses = []
            while time.monotonic() - began < 20:
                status = (await client.get("/readyz")).status_code
                statuses.append(status)
                if status == 200 and 503 in statuses:
                    break
                await asyncio.sleep(0.02)
            seconds = time.monotonic() - began
            await asyncio.gather(*asking)
            return answers, statuses, seconds

    with live_server(tmp_path, ["stub"], "--max-batch", 8, "--max-queue", 128) as running:
        answers, statuses, seconds = asyncio.run(run(running))
        assert statuses[-1] == 200
        assert 503 in statuses
        assert seconds < 20
        lost = [a for a in answers if a.status_code == 503 and "worker_lost" in a.text]
        refused = [a for a in answers if a.status_code == 503 and "not_ready" in a.text]
        assert len(lost) <= 8
        assert all("retry-after" in answer.headers for answer in lost + refused)
        assert len(lost) + len(refused) + sum(a.status_code == 200 for a in answers) == 80
        assert running.metric('captune_worker_restarts_total{model="stub"}') == 1


@pytest.mark.parametrize("fault", ["crash", pytest.param("hang", marks=pytest.mark.slow)])
def test_an_image_that_crashes_or_hangs_the_model_costs_its_batch_and_later_ones_are_captioned(
    tmp_path, fault
):
    write_stub(tmp_path / "stub")
    flags = ["--deadline", 2] if fault == "hang" else []
    with live_server(tmp_path, ["stub"], *flags) as running, running.client() as client:
        answer = client.post("/v1/caption", content=encoded(poison(fault)), headers=PNG_BODY)
        assert answer.status_code == (504 if fault == "hang" else 503)
        if fault == "hang":
            time.sleep(6)
        assert running.wait_ready(30) < 30
        again = client.post("/v1/caption", content=png(1), headers=PNG_BODY)
        assert again.json()["results"][0]["caption"] == stub_caption(1)
