"""Images at URLs: only https, only allowed hosts, never an address of the server's own networks.

The resolver and the connector of the server's fetcher are replaced, so that each test decides what
names resolve to and sees every connection.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import httpx
import pytest

from captune.net import UrlFetcher, UrlRules
from captune.serving import ServerSettings
from captune.serving.app import build_app
from captune.serving.settings import RequestLimits
from support.bulk.stub_captioner import write_stub
from support.hub.lying_server import LyingServer, lying_server
from support.hub.network import Network
from support.serving.in_process import run_app
from support.serving.pictures import png, stub_caption
from support.serving.stub_model import served_stub

PUBLIC = "93.184.216.34"
HOST = "images.example"


@pytest.fixture
def far():
    with lying_server() as running:
        yield running


def _ask(tmp_path, far: LyingServer, urls: list[str], *, allowed=(HOST,), **names):
    """Ask a server for the captions of URLs; return the answer and the connections."""
    write_stub(tmp_path / "stub")
    network = Network(far.port, **names)
    limits = RequestLimits()
    settings = ServerSettings((served_stub(tmp_path / "stub"),), allow_url_hosts=allowed)
    app, state = build_app(settings)
    # As `build_app` makes it, but with a test's network; http, so that no certificate is needed.
    rules = UrlRules(
        max_bytes=limits.image_bytes,
        max_seconds=2.0,
        only_hosts=frozenset(allowed),
        trusted_hosts=frozenset([f"{HOST}:80"]),
    )
    fetcher = UrlFetcher(rules, resolve=network.resolve, connect=network.connect)
    object.__setattr__(state, "fetcher", fetcher if allowed else None)

    async def ask(client: httpx.AsyncClient) -> httpx.Response:
        body = {"images": [{"url": url} for url in urls]}
        return await client.post("/v1/caption", json=body)

    return asyncio.run(run_app(app, state, ask)), network.connected


_FORBIDDEN = [
    "http://127.0.0.1/a.png",
    "https://127.0.0.1/a.png",
    "https://[::1]/a.png",
    "https://169.254.169.254/latest/meta-data/",
    "https://10.1.2.3/a.png",
    "https://0.0.0.0/a.png",
    "https://2130706433/a.png",
    "https://0x7f.1/a.png",
    "https://[::ffff:127.0.0.1]/a.png",
    "https://[fd00::1]/a.png",
    "https://localhost./a.png",
    f"https://user@{HOST}/a.png",
    f"https://{HOST}@127.0.0.1/a.png",
    "https://ımages.example/a.png",
    "file:///etc/passwd",
    "gopher://127.0.0.1:70/_",
    "data:text/html,hello",
    f"https://{HOST}.evil.example/a.png",
    f"https://evil.example/{HOST}",
    "",
    "a.png",
    f"https://{HOST}/\r\nHost: evil",
]


def test_urls_of_other_hosts_and_schemes_are_never_connected_to(tmp_path, far):
    for urls in (_FORBIDDEN[:16], _FORBIDDEN[16:]):
        answer, connected = _ask(tmp_path, far, urls)
        codes = {result["error"]["code"] for result in answer.json()["results"]}
        assert (answer.status_code, codes) == (400, {"url_forbidden"})
        assert connected == []


def test_without_allowed_hosts_every_url_is_refused(tmp_path, far):
    answer, connected = _ask(tmp_path, far, [f"https://{HOST}/a.png"], allowed=())
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "url_forbidden")
    assert connected == []


@pytest.mark.parametrize("addresses", [["10.0.0.5"], ["127.0.0.1"], [PUBLIC, "10.0.0.5"], ["::1"]])
def test_an_allowed_host_at_a_private_address_is_never_connected_to(tmp_path, far, addresses):
    answer, connected = _ask(tmp_path, far, [f"https://{HOST}/a.png"], images_example=[addresses])
    assert answer.json()["error"]["code"] == "url_forbidden"
    assert connected == []


@pytest.mark.slow
def test_an_allowed_host_is_looked_up_once_and_its_address_is_pinned(tmp_path, far):
    answer, connected = _ask(
        tmp_path, far, [f"https://{HOST}/a.png"], images_example=[[PUBLIC], ["127.0.0.1"]]
    )
    assert answer.status_code == 400  # TLS fails at the test's server.
    assert connected == [(PUBLIC, 443)]


@pytest.mark.parametrize(
    "location",
    [
        "https://evil.example/b.png",
        "https://127.0.0.1/b.png",
        "http://169.254.169.254/",
        "file:///etc/passwd",
        "//10.0.0.1/b.png",
    ],
)
def test_a_redirect_to_a_host_that_is_not_allowed_is_refused_at_the_hop(tmp_path, far, location):
    far.redirect("/a.png", location)
    answer, connected = _ask(tmp_path, far, [f"http://{HOST}/a.png"], images_example=[[PUBLIC]])
    assert answer.json()["error"]["code"] == "url_forbidden"
    assert connected == [(PUBLIC, 80)]


def test_a_redirect_of_an_allowed_host_to_itself_at_a_private_address_is_refused(tmp_path, far):
    far.redirect("/a.png", f"https://{HOST}/b.png")
    answer, connected = _ask(
        tmp_path, far, [f"http://{HOST}/a.png"], images_example=[[PUBLIC], ["192.168.0.1"]]
    )
    assert answer.json()["error"]["code"] == "url_forbidden"
    assert connected == [(PUBLIC, 80)]


def test_an_image_of_an_allowed_host_is_captioned_and_bad_ones_fail_alone(tmp_path, far):
    far.say("/a.png", png(1))
    far.say("/long", bytes(21_000_000))
    far.say("/lie", b"abc", "Content-Length: 30")
    far.say("/zip", b"abc", "Content-Encoding: gzip")
    far.say("/gone", b"", status="404 Not Found")
    far.redirect("/loop", f"http://{HOST}/loop")
    far.say("/chunk", b"-5\r\nabc\r\n", "Transfer-Encoding: chunked")
    far.say("/heads", b"abc", *[f"X-{n}: a" for n in range(300)])
    far.say("/html", b"<html>", "Content-Type: image/png")
    paths = ["a.png", "long", "lie", "zip", "gone", "loop", "chunk", "heads", "html"]
    urls = [f"http://{HOST}/{path}" for path in paths]
    answer, _ = _ask(tmp_path, far, urls, images_example=[[PUBLIC]])
    assert answer.status_code == 200
    first, *others = answer.json()["results"]
    assert first["caption"] == stub_caption(1)
    codes = [result["error"]["code"] for result in others]
    assert codes == [
        "image_too_large",
        "image_corrupt",
        *["url_unreachable"] * 5,
        "image_unsupported",
    ]


@pytest.mark.slow
def test_a_url_that_sends_a_byte_at_a_time_is_cut(tmp_path, far):
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not far.stop.wait(0.1):
            connection.sendall(b"a")

    far.answers["/slow"] = drip
    answer, _ = _ask(tmp_path, far, [f"http://{HOST}/slow"], images_example=[[PUBLIC]])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "url_timeout")


def test_the_servers_own_fetcher_trusts_no_host_and_opens_only_allowed_ones(tmp_path):
    write_stub(tmp_path / "stub")
    settings = ServerSettings((served_stub(tmp_path / "stub"),), allow_url_hosts=(HOST,))
    _, state = build_app(settings)
    assert state.fetcher is not None
    expected = UrlRules(max_bytes=20_000_000, only_hosts=frozenset([HOST]))
    assert state.fetcher.rules == expected
    _, closed = build_app(replace(settings, allow_url_hosts=()))
    assert closed.fetcher is None


def test_downloaded_bytes_are_returned_to_the_budget(tmp_path, far):
    far.say("/a.png", png(1))
    write_stub(tmp_path / "stub")
    settings = ServerSettings((served_stub(tmp_path / "stub"),))
    app, state = build_app(settings)
    network = Network(far.port, **{HOST: [[PUBLIC]]})
    rules = UrlRules(trusted_hosts=frozenset([f"{HOST}:80"]))
    fetcher = UrlFetcher(rules, resolve=network.resolve, connect=network.connect)
    object.__setattr__(state, "fetcher", fetcher)
    state.budget.take(settings.limits.all_bytes - 2000)

    async def ask(client: httpx.AsyncClient) -> list[httpx.Response]:
        body = {"images": [{"url": f"http://{HOST}/a.png"}] * 2}
        return [await client.post("/v1/caption", json=body) for _ in range(2)]

    for answer in asyncio.run(run_app(app, state, ask)):
        # The second image of each request does not fit; after it, there is room again.
        codes = [result.get("error", {}).get("code") for result in answer.json()["results"]]
        assert sorted(codes, key=str) == [None, "too_many_bytes"]
