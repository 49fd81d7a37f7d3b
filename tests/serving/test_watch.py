"""What the server reports about itself: metrics with few labels, and one log object per line."""

from __future__ import annotations

import re
import time

from support.serving.pictures import png

PNG_BODY = {"content-type": "image/png"}


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


def test_a_request_is_logged_as_an_event_with_its_id(server):
    with server.client() as client:
        answer = client.post(
            "/v1/caption", content=png(1), headers=PNG_BODY, params={"k": "secret"}
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
