"""Downloads: which connections are made, which redirects are followed, and what the limits stop.

The resolver and the connector are arguments: each test decides what names resolve to, and every
connection, to any public address, ends at a server on loopback.
"""

from __future__ import annotations

import io
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from captune.errors import ImageError
from captune.inference import UrlFetcher, UrlRules
from captune.net.fetch import resolve_host
from support.hub.lying_server import LyingServer, lying_server
from support.hub.network import Network

PUBLIC = "93.184.216.34"
HOST = "images.example:80"
URL = "http://images.example/a.png"


def _png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(buffer, "PNG")
    return buffer.getvalue()


PNG = _png()


@pytest.fixture
def server() -> Iterator[LyingServer]:
    with lying_server() as running:
        yield running


def fetcher(network: Network, **rules: object) -> UrlFetcher:
    """Return a fetcher that allows http to `images.example`: most tests need no certificate."""
    allowed = replace(UrlRules(trusted_hosts=frozenset([HOST])), **rules)
    return UrlFetcher(allowed, resolve=network.resolve, connect=network.connect)


def refusal(fetch: Callable[[], bytes]) -> ImageError:
    with pytest.raises(ImageError) as caught:
        fetch()
    return caught.value


def test_an_image_is_fetched_from_the_address_that_was_looked_up(server):
    server.say("/a.png", PNG, "Content-Type: text/html")
    network = Network(server.port, images_example=[[PUBLIC]])
    assert fetcher(network).fetch(URL) == PNG
    assert network.connected == [(PUBLIC, 80)]
    head = server.heads[0].lower()
    assert "host: images.example\r\n" in head
    assert "accept-encoding: identity\r\n" in head
    assert "cookie" not in head


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://10.0.0.1/",
        "https://0.0.0.0/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://[::ffff:127.0.0.1]/",
        "https://[fd00::8]/",
        "https://[fe80::1]/",
        "https://localhost./",
        "https://localhost/",
        "https://user@127.0.0.1/",
        "https://⑯⑨.254.169.254/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "data:text/html,hello",
        "data:image/png;base64,%%%",
    ],
)
def test_private_addresses_are_never_connected_to(server, url):
    network = Network(server.port, localhost=[["127.0.0.1", "::1"]])
    assert refusal(lambda: fetcher(network).fetch(url)).what == "url_forbidden"
    assert network.connected == []


def test_a_name_with_a_public_and_a_private_address_is_never_connected_to(server):
    network = Network(server.port, mixed_example=[[PUBLIC, "10.0.0.5"]])
    assert refusal(lambda: fetcher(network).fetch("https://mixed.example/")).what == "url_forbidden"
    assert network.connected == []


def test_a_name_is_looked_up_once_and_the_address_is_pinned(server):
    """DNS rebinding: public for the check, private for the connection."""
    server.say("/a.png", PNG)
    # Not a trusted host, so the address is checked; that TLS fails then does not matter here.
    network = Network(server.port, rebind_example=[[PUBLIC], ["127.0.0.1"]])
    assert refusal(
        lambda: fetcher(network, max_seconds=0.5).fetch("https://rebind.example/a.png")
    ).what in ("url_unreachable", "url_timeout")
    assert network.asked == ["rebind.example"]
    assert network.connected == [(PUBLIC, 443)]


def test_a_second_lookup_after_a_redirect_is_checked_again(server):
    """A redirect leads to an untrusted name that now has a private address."""
    server.redirect("/a.png", "https://turning.example/b.png")
    network = Network(server.port, images_example=[[PUBLIC]], turning_example=[["169.254.169.254"]])
    assert refusal(lambda: fetcher(network).fetch(URL)).what == "url_forbidden"
    assert network.connected == [(PUBLIC, 80)]


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://2130706433/",
        "http://169.254.169.254/latest/meta-data/",
        "//10.0.0.1/a.png",
        "file:///etc/passwd",
        "http://other.example/a.png",
        "https://user@other.example/",
        "https://evil.example/\x1b[2J",
        "https://[not-an-address/",
    ],
)
def test_a_redirect_to_a_private_address_is_refused_before_connecting(server, location):
    server.redirect("/a.png", location)
    network = Network(server.port, images_example=[[PUBLIC]], other_example=[[PUBLIC]])
    error = refusal(lambda: fetcher(network).fetch(URL))
    assert error.what == "url_forbidden"
    assert error.where.isprintable()
    assert network.connected == [(PUBLIC, 80)]


def test_a_redirect_on_the_same_host_is_followed(server):
    server.redirect("/a.png", "sub/b.png")
    server.say("/sub/b.png", PNG)
    network = Network(server.port, images_example=[[PUBLIC]])
    assert fetcher(network).fetch(URL) == PNG
    assert [line.split()[1] for line in server.requests] == ["/a.png", "/sub/b.png"]


def test_another_host_cannot_redirect_to_a_trusted_host(server):
    """The user trusts that host, not every host that redirects to it."""
    server.redirect("/a.png", "http://cellar.example/secret")
    network = Network(server.port, images_example=[[PUBLIC]], cellar_example=[["10.0.0.9"]])
    rules = UrlRules(trusted_hosts=frozenset([HOST, "cellar.example"]))
    assert refusal(
        lambda: UrlFetcher(rules, resolve=network.resolve, connect=network.connect).fetch(URL)
    ).what == ("url_forbidden")
    assert network.connected == [(PUBLIC, 80)]


def test_a_redirect_loop_ends(server):
    server.redirect("/a.png", "/a.png")
    network = Network(server.port, images_example=[[PUBLIC]])
    assert refusal(lambda: fetcher(network).fetch(URL)).what == "url_redirects"
    assert len(server.requests) == 6


def test_a_body_longer_than_announced_is_cut_at_the_announced_length(server):
    server.say("/a.png", PNG + b"more", f"Content-Length: {len(PNG)}")
    network = Network(server.port, images_example=[[PUBLIC]])
    assert fetcher(network).fetch(URL) == PNG


def test_a_body_shorter_than_announced_is_reported_as_truncated(server):
    server.say("/a.png", PNG[:40], f"Content-Length: {len(PNG)}")
    network = Network(server.port, images_example=[[PUBLIC]])
    assert refusal(lambda: fetcher(network).fetch(URL)).what == "truncated"


def test_an_incomplete_chunked_body_is_reported_as_truncated(server):
    server.say("/a.png", b"20\r\nshort", "Transfer-Encoding: chunked")
    network = Network(server.port, images_example=[[PUBLIC]])
    assert refusal(lambda: fetcher(network).fetch(URL)).what == "truncated"


def test_an_announced_length_over_the_limit_is_refused_without_reading(server):
    server.say("/a.png", b"", "Content-Length: 21000000")
    network = Network(server.port, images_example=[[PUBLIC]])
    assert refusal(lambda: fetcher(network).fetch(URL)).what == "url_too_large"


@pytest.mark.parametrize("header", ["Connection: close", "Transfer-Encoding: chunked"])
def test_an_endless_body_is_cut_at_the_limit(server, header):
    sent = [0]

    def flood(connection: socket.socket) -> None:
        connection.sendall(f"HTTP/1.1 200 OK\r\n{header}\r\n\r\n".encode())
        piece = b"x" * 65536
        if "chunked" in header:
            piece = b"10000\r\n" + piece + b"\r\n"
        while not server.stop.is_set():
            connection.sendall(piece)
            sent[0] += len(piece)

    server.answers["/a.png"] = flood
    network = Network(server.port, images_example=[[PUBLIC]])
    error = refusal(lambda: fetcher(network, max_bytes=1_000_000).fetch(URL))
    assert error.what == "url_too_large"
    assert "more than 1 MB" in error.where
    assert sent[0] < 20_000_000


def _drip(server: LyingServer, start: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.sendall(start)
        while not server.stop.wait(0.05):
            connection.sendall(b"x")

    return answer


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_bytes_that_arrive_slowly_are_cut_off_in_time(server, start):
    server.answers["/a.png"] = _drip(server, start)
    network = Network(server.port, images_example=[[PUBLIC]])
    started = time.monotonic()
    assert refusal(lambda: fetcher(network, max_seconds=0.6).fetch(URL)).what == "url_timeout"
    assert time.monotonic() - started < 3


def test_a_silent_server_is_cut_off_in_time(server):
    server.answers["/a.png"] = lambda connection: server.stop.wait(10) and None
    network = Network(server.port, images_example=[[PUBLIC]])
    started = time.monotonic()
    assert refusal(lambda: fetcher(network, max_seconds=0.3).fetch(URL)).what == "url_timeout"
    assert time.monotonic() - started < 3


def test_redirects_share_one_time_limit(server):
    def late(connection: socket.socket) -> None:
        time.sleep(0.25)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /a.png\r\nContent-Length: 0\r\n\r\n")

    server.answers["/a.png"] = late
    network = Network(server.port, images_example=[[PUBLIC]])
    assert refusal(lambda: fetcher(network, max_seconds=0.6).fetch(URL)).what == "url_timeout"
    assert len(server.requests) <= 3


def test_a_compressed_body_is_refused(server):
    server.say("/a.png", b"\x1f\x8b", "Content-Encoding: gzip")
    network = Network(server.port, images_example=[[PUBLIC]])
    assert refusal(lambda: fetcher(network).fetch(URL)).what == "url_encoded"


@pytest.mark.parametrize("status", ["404 Not Found", "500 Oops", "206 Partial", "204 None"])
def test_a_status_other_than_200_is_reported(server, status):
    server.say("/a.png", b"", status=status)
    network = Network(server.port, images_example=[[PUBLIC]])
    error = refusal(lambda: fetcher(network).fetch(URL))
    assert error.what == "url_status"
    assert status[:3] in error.where


@pytest.mark.parametrize(
    "junk", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200]
)
def test_a_response_that_is_not_http_is_unreachable(server, junk):
    server.answers["/a.png"] = lambda connection: connection.sendall(junk)
    network = Network(server.port, images_example=[[PUBLIC]])
    assert refusal(lambda: fetcher(network).fetch(URL)).what == "url_unreachable"


def test_a_name_that_does_not_exist_is_unreachable(server):
    def resolve(host: str, port: int, *, seconds: float) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    found = UrlFetcher(resolve=resolve)
    error = refusal(lambda: found.fetch("https://gone.example/a.png"))
    assert error.what == "url_unreachable"
    assert "Name or service not known" in error.where


def test_the_systems_resolver_finds_this_machine():
    assert "127.0.0.1" in resolve_host("localhost", 443, seconds=5.0)


def test_the_next_address_is_tried_when_the_first_refuses(server):
    server.say("/a.png", PNG)
    network = Network(server.port, images_example=[["93.184.216.35", PUBLIC]])
    connect = network.connect

    def refuse_first(address: str, port: int, *, seconds: float) -> socket.socket:
        if address != PUBLIC:
            raise ConnectionRefusedError
        return connect(address, port, seconds=seconds)

    found = replace(fetcher(network), connect=refuse_first)
    assert found.fetch(URL) == PNG


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a key and a certificate of images.example."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is needed to create a certificate")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    key = path.with_name("key.pem")
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", str(key), "-out", str(path), "-subj", "/CN=images.example"),
            *("-addext", "subjectAltName=DNS:images.example"),
        ],
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path


def test_https_is_checked_against_the_name_and_not_the_address(certificate):
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=certificate)
    with lying_server(own) as server:
        server.say("/a.png", PNG)
        network = Network(server.port, images_example=[[PUBLIC]], other_example=[[PUBLIC]])
        found = UrlFetcher(resolve=network.resolve, connect=network.connect, tls=trusting)
        assert found.fetch("https://images.example/a.png") == PNG
        error = refusal(lambda: found.fetch("https://other.example/a.png"))
        assert error.what == "url_unreachable"
        assert "certificate" in error.where.lower()
        stranger = replace(found, tls=None)
        error = refusal(lambda: stranger.fetch("https://images.example/a.png"))
        assert "certificate" in error.where.lower()


@pytest.mark.parametrize("size", [b"-1", b"-5", b"-0x5"])
def test_a_negative_chunk_size_is_refused_before_anything_is_read(server, size):
    server.say("/a.png", size + b"\r\n" + bytes(1000), "Transfer-Encoding: chunked")
    network = Network(server.port, images_example=[[PUBLIC]])
    assert refusal(lambda: fetcher(network).fetch(URL)).what == "url_unreachable"
