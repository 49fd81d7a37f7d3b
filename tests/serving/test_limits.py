"""Sizes and times: what is too large, too slow or too much is refused, and others are served."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from starlette.requests import Request

from captune.serving.access.bodies import ByteBudget, LimitedBody
from captune.serving.api.read_call import read_caption_call
from captune.serving.errors import ApiError
from captune.serving.settings import RequestLimits
from support.serving.pictures import png, stub_caption

PNG_BODY = {"content-type": "image/png"}


def _is_served(server) -> bool:
    with server.client(timeout=5.0) as client:
        answer = client.post("/v1/caption", content=png(3), headers=PNG_BODY)
    return answer.status_code == 200 and answer.json()["results"][0]["caption"] == stub_caption(3)


def _talk(server, sent: bytes, *, seconds: float = 20.0) -> bytes:
    """Send bytes and return all that comes back until the connection closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(sent)
        received = b""
        with contextlib.suppress(OSError):
            while piece := connection.recv(65536):
                received += piece
        return received


def _status(answer: bytes) -> int:
    return int(answer.split()[1]) if answer else 0


@pytest.mark.slow
def test_an_image_of_21_mb_is_refused_and_its_neighbour_is_captioned(server):
    files = [("images", ("a.png", bytes(21_000_000))), ("images", ("b.png", png(1)))]
    with server.client() as client:
        raw = client.post("/v1/caption", content=bytes(21_000_000), headers=PNG_BODY)
        form = client.post("/v1/caption", files=files)
    assert (raw.status_code, raw.json()["error"]["code"]) == (413, "image_too_large")
    first, second = form.json()["results"]
    assert (first["error"]["code"], second["caption"]) == ("image_too_large", stub_caption(1))


def test_a_body_of_65_mb_is_refused_before_it_is_read(server):
    with server.client() as client:
        answer = client.post("/v1/caption", content=bytes(65_000_000), headers=PNG_BODY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


def test_a_body_without_a_length_is_refused_while_it_arrives(server):
    def pieces():
        for _ in range(65):
            yield bytes(1_000_000)

    with server.client() as client:
        answer = client.post("/v1/caption", content=pieces(), headers=PNG_BODY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
    assert server.metric('captune_rejections_total{reason="body_too_large"}') >= 2


def test_a_body_in_tiny_chunks_is_refused_and_one_in_small_chunks_is_read(server):
    head = b"POST /v1/caption HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    head += b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    content = png(4) + bytes(150_000)
    small = b"".join(b"40\r\n%b\r\n" % content[at : at + 64] for at in range(0, 150_016, 64))
    assert _status(_talk(server, head + b"1\r\nx\r\n" * 3000, seconds=10)) == 400
    assert _status(_talk(server, head + small + b"0\r\n\r\n")) == 200


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip", "zstd"])
def test_an_encoded_body_is_refused(server, encoding):
    headers = {**PNG_BODY, "content-encoding": encoding}
    with server.client() as client:
        answer = client.post("/v1/caption", content=png(), headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "body_encoded")


@pytest.mark.parametrize("path", ["/v1/caption%0A", "/v1/chat/completions%0A", "/livez%0A"])
def test_a_path_with_a_line_end_is_that_of_no_route(server, path):
    with server.client() as client:
        answer = client.post(path, content=png(1), headers={"content-type": "image/png"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_a_body_of_another_type_is_refused(server):
    with server.client() as client:
        for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
            answer = client.post("/v1/caption", content=b"a=b", headers={"content-type": kind})
            assert (answer.status_code, answer.json()["error"]["code"]) == (415, "body_unsupported")


@pytest.mark.slow
def test_a_form_with_10000_parts_is_refused(server):
    parts = [("images", (f"{n}.png", b"x")) for n in range(10_000)]
    fields = {f"field{n}": "x" for n in range(100)}
    with server.client() as client:
        files = client.post("/v1/caption", files=parts)
        others = client.post("/v1/caption", data=fields, files={"images": png()})
    assert (files.status_code, others.status_code) == (413, 413)


def test_a_file_name_is_never_used(server, tmp_path):
    with server.client() as client:
        long = client.post("/v1/caption", files={"images": ("a" * 1_000_000, png(1))})
        outside = client.post("/v1/caption", files={"images": ("../../x.png", png(1))})
        absolute = client.post("/v1/caption", files={"images": ("/etc/passwd", png(1))})
    assert long.status_code == 400
    for answer in (outside, absolute):
        assert answer.json()["results"][0]["caption"] == stub_caption(1)
    assert not list(server.log.parent.rglob("*x.png"))


_FILE = b'--b\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'


@pytest.mark.parametrize(
    "form",
    [
        b"",
        b"--b\r\n",
        b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="nope"\r\n\r\nx\r\n--b--\r\n',
        b"--b\r\n" + b"A: b\r\n" * 100_000 + b"\r\n\r\n--b--\r\n",
        b"--b\r\n" + b"A" * 5_000_000,
        b"\r\n" * 1_000_000,
        # Cut after its first image: one result would look like all of them.
        _FILE + png(1) + b"\r\n",
        _FILE + png(1) + b"\r\n" + _FILE + png(2),
    ],
)
@pytest.mark.parametrize("kind", ["boundary=b", "no=boundary"])
def test_a_malformed_form_is_refused(server, form, kind):
    headers = {"content-type": f"multipart/form-data; {kind}"}
    began = time.monotonic()
    with server.client() as client:
        answer = client.post("/v1/caption", content=form, headers=headers)
    assert answer.status_code in (400, 413, 422), answer.text
    assert time.monotonic() - began < 5


def test_the_files_of_a_form_stay_in_memory(monkeypatch):
    """A container's disk may be read-only, and images must not be left on a disk."""

    def fail(*_arguments, **_settings):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", fail)
    files = [("images", (f"{n}.png", bytes([n]) * 3_000_000)) for n in range(3)]
    sent = httpx.Request("POST", "http://localhost/v1/caption", files=files)
    content = sent.read()
    pieces = [content[at : at + 65536] for at in range(0, len(content), 65536)]

    async def receive():
        body = pieces.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(pieces)}

    headers = [(b"content-type", sent.headers["content-type"].encode())]
    scope = {"type": "http", "method": "POST", "query_string": b"", "headers": headers}
    request = Request(scope, receive)
    call = asyncio.run(read_caption_call(request, RequestLimits()))
    assert [(len(image), image[:1]) for image in call.images] == [
        (3_000_000, bytes([n])) for n in range(3)
    ]


@pytest.mark.parametrize(
    "charset", ["idna", "punycode", "utf-16", "unicode_escape", "rot13", "\xff"]
)
def test_the_character_set_of_a_form_breaks_nothing(server, charset):
    field = (
        b'--b\r\nContent-Disposition: form-data; name="generate"\r\n\r\n\\ud800 x\xff\r\n--b--\r\n'
    )
    kind = f"multipart/form-data; boundary=b; charset={charset}".encode("latin-1")
    with server.client() as client:
        answer = client.post("/v1/caption", content=field, headers={b"content-type": kind})
    assert 400 <= answer.status_code < 500


def _send_headers_without_end(server) -> tuple[bytes, float]:
    """Return the answer, and the seconds until it came."""
    began = time.monotonic()
    head = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(head)
        while True:
            with contextlib.suppress(OSError):
                connection.sendall(b"a")
            connection.settimeout(1.0)
            try:
                piece = connection.recv(4096)
            except TimeoutError:
                continue
            except OSError:
                break
            if not piece:
                break
            received += piece
    return received, time.monotonic() - began


def _stay_idle(server) -> bytes:
    """Return all that comes after one request until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b""
        while piece := connection.recv(4096):
            received += piece
        return received


@pytest.mark.slow
def test_clients_that_never_end_are_answered_with_408_and_idle_ones_without_an_answer(server):
    # All at once, because each of these times is waited for in full.
    body = b"POST /v1/caption HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    body += b"Content-Length: 100\r\n\r\nabc"
    with ThreadPoolExecutor(3) as clients:
        headers = clients.submit(_send_headers_without_end, server)
        kept = clients.submit(_stay_idle, server)
        sent = clients.submit(_talk, server, body, seconds=40)
    answer, seconds = headers.result()
    assert _status(answer) == 408
    assert 8 < seconds < 15
    # A client would take an answer without a request for the answer to its next request.
    assert kept.result().count(b"HTTP/1.1") == 1
    assert _status(sent.result()) == 408


def test_idle_and_slow_connections_do_not_keep_others_from_being_served(server):
    slow_body = b"POST /v1/caption HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    slow_body += b"Content-Length: 60000000\r\n\r\nabc"
    with contextlib.ExitStack() as held:
        for number in range(500):
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
            held.enter_context(connection)
            if number % 10 == 0:
                connection.sendall(slow_body)
            elif number % 10 == 1:
                connection.sendall(b"POST /v1/caption HT")
        began = time.monotonic()
        assert all(_is_served(server) for _ in range(5))
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n\r\n",
        b"POST /v1/caption HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/caption HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
        + b"9" * 5000
        + b"\r\n\r\n",
        b"POST /v1/caption HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
        b"Content-Length: 6\r\n\r\nabcdef",
        b"POST /v1/caption HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabc\r\n0\r\n\r\n",
        b"POST /v1/caption HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + b"X-A: b\r\n" * 20_000 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_a_request_that_is_not_http_is_refused(server, request_):
    answer = _talk(server, request_ + b"\r\n", seconds=15)
    assert 400 <= _status(answer) < 500 or _status(answer) == 501, answer[:200]
    assert _is_served(server)


def test_an_upgrade_to_websockets_is_not_offered(server):
    head = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\n"
    head += b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n\r\n"
    assert _status(_talk(server, head)) == 200


def test_bytes_of_all_bodies_together_are_limited():
    async def receive():
        return {"type": "http.request", "body": bytes(60), "more_body": True}

    budget = ByteBudget(100)
    limits = RequestLimits(body_bytes=1000)
    first = LimitedBody(receive, 1000, limits=limits, budget=budget)
    second = LimitedBody(receive, None, limits=limits, budget=budget)
    asyncio.run(first.receive())
    with pytest.raises(ApiError) as caught:
        asyncio.run(second.receive())
    assert (caught.value.status, caught.value.retry_after) == (429, 2)
    first.close()
    asyncio.run(second.receive())


@pytest.mark.slow
def test_a_request_with_more_images_than_the_queue_holds_is_refused(tmp_path):
    from support.bulk.stub_captioner import write_stub
    from support.serving.live_server import live_server

    write_stub(tmp_path / "stub")
    with live_server(tmp_path, ["stub"], "--max-queue", 2) as running, running.client() as client:
        files = [("images", (f"{n}.png", png(n))) for n in range(3)]
        answer = client.post("/v1/caption", files=files)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_many_images")
        assert client.post("/v1/caption", files=files[:2]).status_code == 200
