"""Who may ask: hosts, origins, keys, and which routes need a key."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest

from captune.errors import DataError
from captune.serving import ServerSettings
from captune.serving.access.hosts import HostRules
from captune.serving.access.keys import KeyFile
from captune.serving.app import build_app
from support.bulk.fork_server import stub_environment
from support.bulk.kills import PROGRAM
from support.bulk.stub_captioner import write_stub
from support.serving.live_server import live_server
from support.serving.pictures import png
from support.serving.stub_model import served_stub

KEY = "first-key-of-this-test"
OTHER = "other-key-of-this-test"
IMAGE = {"content-type": "image/png"}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keyed")
    write_stub(folder / "stub")
    (folder / "keys").write_text(f"# the keys\n{KEY}\n")
    with live_server(folder, ["stub"], "--api-key-file", "keys") as running:
        yield running


def _with(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def _status(server, headers: dict[str, str], path: str = "/v1/models") -> int:
    with server.client() as client:
        return client.get(path, headers=headers).status_code


@pytest.mark.slow
def test_a_request_without_the_right_key_gets_401(keyed):
    assert _status(keyed, _with(KEY)) == 200
    assert _status(keyed, {"x-api-key": KEY}) == 200
    for headers in (
        {},
        _with("wrong-key-of-this-test"),
        {"authorization": KEY},
        _with(KEY[:-1]),
    ):
        assert _status(keyed, headers) == 401
    with keyed.client() as client:
        answer = client.get("/v1/models")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"]["code"] == "key_missing"


def test_a_key_in_the_query_is_ignored(keyed):
    for name in ("key", "api_key", "token", "access_token", "x-api-key"):
        assert _status(keyed, {}, f"/v1/models?{name}={KEY}") == 401
    assert KEY not in keyed.log.read_text()


def test_a_key_of_arbitrary_bytes_is_wrong_and_not_an_internal_error(keyed):
    for odd in (b"\xff\xfe" * 10, "schlüssel-schlüssel".encode(), b"a" * 20_000):
        request = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + odd
        with socket.create_connection(("127.0.0.1", keyed.port), timeout=10) as connection:
            connection.sendall(request + b"\r\nConnection: close\r\n\r\n")
            assert connection.recv(4096).split()[1] == b"401"


def _all_paths(folder) -> set[str]:
    """Return the paths of the router itself, also of routes that OpenAPI does not list."""
    app, _ = build_app(ServerSettings((served_stub(folder / "stub"),)))
    return set(app.paths)


def test_every_route_except_health_and_the_page_needs_the_key(keyed):
    with keyed.client() as client:
        paths = _all_paths(keyed.log.parent)
        assert {"/v1/caption", "/v1/chat/completions", "/v1/models", "/metrics"} <= paths
        closed = {
            *paths,
            "/openapi.json",
            "/docs",
            "/no-such-route",
            "/v1/caption/",
            "/livez/",
        }
        closed -= {"/livez", "/readyz", "/"}
        closed = {path for path in closed if not path.startswith("/page/")}
        for path in sorted(closed):
            for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE"):
                assert client.request(method, path).status_code == 401, (method, path)
        for path in ("/livez", "/readyz"):
            assert client.get(path).status_code == 200
    # A path that leaves the folder of the page is that of no route; clients would tidy it up.
    for path in (b"/page/../v1/models", b"/page/%2e%2e/v1/models", b"/page//v1/models"):
        with socket.create_connection(("127.0.0.1", keyed.port), timeout=10) as connection:
            head = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            connection.sendall(b"GET " + path + head)
            assert connection.recv(4096).split()[1] == b"404", path


@pytest.mark.slow
def test_the_openapi_file_says_which_routes_need_a_key_and_how_it_is_sent(keyed, server):
    with keyed.client() as client, server.client() as free:
        content = client.get("/openapi.json", headers=_with(KEY)).json()
        without = free.get("/openapi.json").json()
    assert content["security"] == [{"bearer": []}, {"header": []}]
    assert without["security"][0] == {}
    schemes = content["components"]["securitySchemes"]
    assert schemes["header"] == {"type": "apiKey", "in": "header", "name": "X-API-Key"}
    is_open = {
        path
        for path, methods in content["paths"].items()
        if any(way.get("security") == [] for way in methods.values())
    }
    assert is_open == {"/livez", "/readyz"}
    query = content["paths"]["/v1/caption"]["post"]["parameters"]
    assert [one["name"] for one in query] == ["model", "num_captions", "generate"]


def test_the_body_of_a_request_without_a_key_is_not_read(keyed):
    head = b"POST /v1/caption HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", keyed.port), timeout=10) as connection:
        connection.sendall(head)
        assert connection.recv(4096).split()[1] == b"401"


def test_keys_are_changed_without_an_interruption(keyed):
    file = keyed.log.parent / "keys"
    before = file.read_text()
    try:
        file.write_text(f"{KEY}\n{OTHER}\n")
        assert [_status(keyed, _with(key)) for key in (KEY, OTHER)] == [200, 200]
        file.write_bytes(b"\xef\xbb\xbf" + OTHER.encode() + b"\r\n")
        assert [_status(keyed, _with(key)) for key in (KEY, OTHER)] == [401, 200]
        for broken in (
            b"",
            b"# nothing\n",
            b"short\n",
            b"\xff\xff\n",
            "ключ-ключ-ключ-ключ\n".encode(),
        ):
            file.write_bytes(broken)
            assert [_status(keyed, _with(key)) for key in (KEY, OTHER)] == [401, 200]
        file.unlink()
        assert _status(keyed, _with(OTHER)) == 200
        file.mkdir()
        assert _status(keyed, _with(OTHER)) == 200
        file.rmdir()
        assert keyed.events("keys_not_read")
    finally:
        file.write_text(before)
    assert _status(keyed, _with(KEY)) == 200


def test_a_host_header_of_another_name_gets_421(server):
    for host in (
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "localhost@evil",
        "10.0.0.1",
        "a/b",
    ):
        with server.client() as client:
            answer = client.get("/v1/models", headers={"host": host})
        assert (answer.status_code, answer.json()["error"]["code"]) == (421, "host_forbidden"), host
    for host in ("localhost", "127.0.0.1", f"localhost:{server.port}", "[::1]", "LOCALHOST"):
        assert _status(server, {"host": host}) == 200, host


def test_health_routes_need_the_right_host_too(server):
    assert _status(server, {"host": "evil.example"}, "/readyz") == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "http://localhost:1"},
        {"origin": "http://[::1"},
    ],
)
def test_a_page_of_another_origin_cannot_post(server, headers):
    with server.client() as client:
        answer = client.post("/v1/caption", content=png(), headers={**IMAGE, **headers})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_forbidden")
        assert "access-control-allow-origin" not in answer.headers


def test_a_preflight_request_gets_no_permission(server):
    headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    with server.client() as client:
        answer = client.options("/v1/caption", headers=headers)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_the_servers_own_page_can_post(server):
    headers = {**IMAGE, "origin": server.url, "sec-fetch-site": "same-origin"}
    with server.client() as client:
        assert client.post("/v1/caption", content=png(), headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("host", "allowed", "header", "expected"),
    [
        ("127.0.0.1", [], "127.0.0.1:8000", True),
        ("127.0.0.1", [], "[::1]:8000", True),
        ("127.0.0.1", [], "192.168.1.5", False),
        ("0.0.0.0", [], "192.168.1.5:8000", True),
        ("0.0.0.0", [], "localhost", True),
        ("0.0.0.0", [], "evil.example", False),
        ("::", [], "[fd00::1]:8000", True),
        ("192.168.1.5", [], "192.168.1.5", True),
        ("192.168.1.5", [], "localhost", False),
        ("192.168.1.5", [], "192.168.1.6", False),
        ("127.0.0.1", ["captions.example"], "captions.example", True),
        ("127.0.0.1", ["captions.example"], "Captions.Example.:443", True),
        ("127.0.0.1", ["captions.example:8443"], "captions.example:8443", True),
        ("127.0.0.1", ["captions.example:8443"], "captions.example", False),
        ("127.0.0.1", ["captions.example:443"], "captions.example", True),
        ("127.0.0.1", ["captions.example:443"], "captions.example:8443", False),
        ("127.0.0.1", ["Captions.Example."], "captions.example", True),
        ("127.0.0.1", ["[2001:DB8::1]"], "[2001:db8::1]:8000", True),
        ("127.0.0.1", ["[2001:db8::1]:8000"], "[2001:db8::1]:8000", True),
        ("127.0.0.1", ["[2001:db8::1]:8000"], "[2001:db8::1]:8001", False),
        ("127.0.0.1", ["captions.example"], "a.captions.example", False),
        ("2001:0DB8:0::1", [], "[2001:db8::1]:8000", True),
        ("[fe80::1%eth0]", [], "[fe80::1]:8000", True),
        ("captions.example.", [], "captions.example:8000", True),
        ("127.0.0.1", [], "", False),
        ("127.0.0.1", [], "localhost:99999", False),
        ("127.0.0.1", [], "[::1", False),
    ],
)
def test_only_names_of_the_server_are_hosts(host, allowed, header, expected):
    assert HostRules(host, allowed).allow_host(header) is expected


def _start(folder, *words: str) -> tuple[int, str]:
    write_stub(folder / "stub")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "serve", "stub", "--backend", "torch", *words],
        cwd=folder,
        capture_output=True,
        env=stub_environment(),
        timeout=60,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--host", "0.0.0.0"], "no key protects the server"),
        (["--api-key-file", "absent"], "absent cannot be read"),
        (["--api-key-file", "."], "is a folder, not a regular file"),
        (["--host", "203.0.113.7", "--api-key-file", "keys"], "cannot listen on 203.0.113.7"),
        (["stub"], "two models are called 'stub'"),
        (["--allow-host", "https://captions.example"], "is not the name or address of a host"),
        (["--allow-host", "*.example.org"], "'*.example.org' is not the name or address"),
        (["--allow-url-host", "images.example/photos"], "--allow-url-host"),
        (["--deadline", "nan"], "--deadline"),
        (["no=such=model!", "--port", "0"], "no"),
    ],
)
def test_a_server_that_cannot_start_reports_why(tmp_path, words, text):
    (tmp_path / "keys").write_text(KEY)
    code, errors = _start(tmp_path, *words)
    assert code == 2
    assert text in errors


def test_a_key_file_of_windows_powershell_is_read(tmp_path):
    for encoding in ("utf-16", "utf-16-be", "utf-8-sig"):
        mark = "\ufeff" if encoding == "utf-16-be" else ""
        (tmp_path / "keys").write_bytes(f"{mark}# keys\r\n{KEY}\r\n".encode(encoding))
        assert KeyFile(tmp_path / "keys").accepts(KEY)


def test_a_key_file_is_read_again_although_its_time_and_size_are_the_same(tmp_path):
    """As when a file could not be read until its permissions were changed."""
    path = tmp_path / "keys"
    path.write_text(KEY)
    keys, before = KeyFile(path), path.stat()
    path.write_text("\xe9" * (len(KEY) // 2), encoding="utf-8")
    assert keys.accepts(KEY)
    assert not keys.accepts(OTHER)
    path.write_text(OTHER)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert keys.accepts(OTHER)
    assert not keys.accepts(KEY)


def test_a_key_file_behind_a_path_that_cannot_be_looked_at_is_an_error(tmp_path):
    with pytest.raises(DataError, match="cannot be read: File name too long") as caught:
        KeyFile(tmp_path / ("k" * 300))
    assert "check the path" in caught.value.fix
    (tmp_path / "latin").write_bytes(b"\xe9" * 20)
    with pytest.raises(DataError, match="not UTF-8") as caught:
        KeyFile(tmp_path / "latin")
    assert caught.value.fix == "save it as UTF-8"


@pytest.mark.slow
@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_a_server_listens_at_ipv6_loopback_without_a_key(tmp_path):
    write_stub(tmp_path / "stub")
    with live_server(tmp_path, ["stub"], "--host", "[::1]") as running:
        assert running.url.startswith("http://[::1]:")
        with running.client() as client:
            assert client.post("/v1/caption", content=png(), headers=IMAGE).status_code == 200


def test_two_servers_cannot_share_a_port(server, tmp_path):
    code, errors = _start(tmp_path, "--port", str(server.port))
    assert (code, "choose another --port" in errors) == (2, True), errors


def test_control_characters_and_image_bytes_do_not_reach_the_log(server):
    name = 'a\n{"event": "forged"}\x1b[31m\u202e.png'
    with server.client() as client:
        client.post("/v1/caption", files={"images": (name, png(1))})
        client.get("/%0a%1b%5b31mforged%e2%80%ae")
        client.post("/v1/caption", content=b"\x1b[2JGIF89a", headers=IMAGE)
        for content in (b"a secret text", b"P6 secret 1 255 ", png(1)[:33] + b"secret" * 9):
            client.post("/v1/caption", content=content, headers=IMAGE)
    time.sleep(0.1)
    text = server.log.read_bytes().split(b"\n", 1)[1]
    assert all(byte in (10, *range(32, 127)) for byte in text)
    assert not any(piece in text for piece in (b"IHDR", b"GIF89a", b"secret"))
    assert {"not_an_image", "corrupt"} <= {one["reason"] for one in server.events("image_failed")}
    assert not server.events("forged")
    assert any(event.get("path", "").startswith("/\n\x1b[31mforged") for event in server.events())
