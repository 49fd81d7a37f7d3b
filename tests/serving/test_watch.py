"""What the server reports about itself: metrics with few labels, and one log object per line."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from captune.serving.watch.logs import log_event, log_in_background
from support.bulk.fork_server import stub_environment
from support.bulk.kills import PROGRAM
from support.bulk.stub_captioner import write_stub
from support.serving.pictures import png

PNG_BODY = {"content-type": "image/png"}


@pytest.mark.slow
def test_metrics_count_requests_by_route_and_status(server):
    name = 'captune_requests_total{route="/v1/caption",status="200"}'
    before = server.metric(name)
    with server.client() as client:
        for _ in range(3):
            client.post("/v1/caption", content=png(1), headers=PNG_BODY)
        client.post("/v1/caption", content=b"", headers=PNG_BODY)
    assert server.metric(name) == before + 3
    assert server.metric('captune_requests_total{route="/v1/caption",status="400"}') >= 1
    assert server.metric('captune_images_total{model="stub",outcome="captioned"}') >= 3
    assert server.metric('captune_images_total{model="stub",outcome="image_corrupt"}') >= 1
    assert server.metric('captune_rejections_total{reason="image_corrupt"}') >= 1
    assert server.metric("captune_decode_seconds_count") >= 3
    assert server.metric('captune_queue_seconds_count{model="stub"}') >= 3
    assert server.metric('captune_model_seconds_count{model="stub"}') >= 3


def test_an_unknown_path_is_not_a_metric_label(server):
    with server.client() as client:
        for number in range(20):
            client.get(f"/stranger-{number}")
            client.request(f"METHOD{number}", "/v1/caption")
        text = client.get("/metrics").text
    assert "stranger" not in text
    assert "METHOD" not in text
    assert 'route="other"' in text
    assert len(text.splitlines()) < 400


def test_health_can_be_asked_with_head(server):
    with server.client() as client:
        for path in ("/livez", "/readyz", "/"):
            answer = client.head(path)
            assert (answer.status_code, answer.content) == (200, b"")


def test_a_request_is_logged_as_an_event_with_its_id(server):
    with server.client() as client:
        answer = client.post(
            "/v1/caption",
            content=png(1),
            headers=PNG_BODY,
            params={"generate": '{"prompt": "secret"}'},
        )
    time.sleep(0.1)
    (event,) = [e for e in server.events("request") if e["id"] == answer.headers["x-request-id"]]
    assert (event["status"], event["path"], event["model"], event["images"]) == (
        200,
        "/v1/caption",
        "stub",
        1,
    )
    assert event["ms"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", event["time"])
    assert "secret" not in server.log.read_text()


def test_a_long_path_is_cut_in_the_log(server):
    with server.client() as client:
        client.get(f"/{'a' * 5000}")
    time.sleep(0.1)
    assert max(map(len, server.log.read_text().splitlines())) < 2000


def test_a_reader_that_stops_holds_up_nobody_and_lines_that_are_lost_are_counted(monkeypatch):
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as errors, os.fdopen(reading, "rb") as log:
        monkeypatch.setattr(sys, "stderr", errors)
        began = time.monotonic()
        with log_in_background():
            for number in range(20_000):
                log_event("test", number=number)
            assert time.monotonic() - began < 10
            events = [json.loads(log.readline())]
            while events[-1]["event"] != "lines_dropped":
                events.append(json.loads(log.readline()))
            log_event("last")
        errors.close()
        rest = [json.loads(line) for line in log]
    numbers = [event["number"] for event in (*events, *rest) if event["event"] == "test"]
    assert numbers == list(range(len(numbers)))
    assert 4096 <= len(numbers) == 20_000 - events[-1]["count"]
    assert rest[-1]["event"] == "last"


def test_events_are_written_at_once_where_stderr_is_not_a_file(monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    with log_in_background():
        log_event("test")
        assert json.loads(written.getvalue())["event"] == "test"


@pytest.mark.slow
@pytest.mark.skipif("os.name == 'nt'", reason="signals")
def test_a_server_whose_log_is_not_read_answers_and_ends(tmp_path):
    """As with a stopped terminal, or a pager that has shown a page."""
    write_stub(tmp_path / "stub")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "serve", "stub", "--backend", "torch", "--port", "0"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=stub_environment(),
    )
    try:
        assert process.stderr is not None
        url = ""
        while not url.startswith("http"):
            line = process.stderr.readline().decode()
            url = line.partition("; Ctrl-C stops")[0].rpartition(" ")[2]
        ask = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        for _ in range(300):
            with ask(f"{url}/livez?", timeout=10) as answer:
                assert answer.status == 200
        for number in range(300):
            with pytest.raises(urllib.error.HTTPError):
                ask(f"{url}/{number:0500}", timeout=10)
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()
