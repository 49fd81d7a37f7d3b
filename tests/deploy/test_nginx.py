"""The nginx configuration: a real nginx with TLS in front of a real server."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.bulk.stub_captioner import write_stub
from support.places import ROOT
from support.serving.browser import KEY
from support.serving.live_server import LiveServer, live_server
from support.serving.pictures import png, stub_caption

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("nginx"), reason="no nginx: apt-get install nginx-light"),
    pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl"),
]

NAME = "captions.example.org"
_MAIN = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
{user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/captune.conf;
}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a certificate for the name."""
    place = tmp_path_factory.mktemp("nginx")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", place / "privkey.pem", "-out", place / "fullchain.pem"),
            *("-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"),
        ],
        check=True,
        capture_output=True,
    )
    return place


@pytest.fixture(scope="module")
def behind(folder: Path) -> Iterator[LiveServer]:
    """Run a server as the configuration's comment says."""
    write_stub(folder / "stub")
    (folder / "keys").write_text(f"{KEY}\n")
    flags = ("--api-key-file", "keys", "--allow-host", NAME)
    with live_server(folder, ["stub"], *flags) as running:
        yield running


@pytest.fixture(scope="module")
def port(folder: Path, behind: LiveServer) -> Iterator[int]:
    """Run nginx with the configuration, whose ports and paths alone are others."""
    plain, secure = free_port(), free_port()
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    changes = {
        "127.0.0.1:8000": f"127.0.0.1:{behind.port}",
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "listen 443 ssl;": f"listen 127.0.0.1:{secure} ssl;",
        "/etc/ssl/captune": str(folder),
    }
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "captune.conf").write_text(text)
    (folder / "plain-port").write_text(str(plain))
    user = "user root;" if Path("/root").owner() == Path(folder).owner() else ""
    (folder / "nginx.conf").write_text(_MAIN.format(folder=folder, user=user))
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stderr
    assert "[warn]" not in tested.stderr
    process = subprocess.Popen(command)
    try:
        wait_open(secure)
        yield secure
    finally:
        process.terminate()
        process.wait(20)


def free_port() -> int:
    """Return a port that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_open(port: int) -> None:
    """Wait until something listens at a port."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens at {port}")


@pytest.fixture
def client(folder: Path, port: int) -> Iterator[httpx.Client]:
    """Return a client that trusts the certificate only, and has a key."""
    trusted = ssl.create_default_context(cafile=str(folder / "fullchain.pem"))
    headers = {"host": f"{NAME}:{port}", "authorization": f"Bearer {KEY}"}
    address = f"https://127.0.0.1:{port}"
    with httpx.Client(
        base_url=address, verify=trusted, headers=headers, trust_env=False, timeout=90
    ) as connected:
        yield connected


def ask(client: httpx.Client, method: str, path: str, **settings: object) -> httpx.Response:
    """Send a request to the name in the certificate."""
    extensions = {"sni_hostname": NAME}
    return client.request(method, path, extensions=extensions, **settings)  # type: ignore[arg-type]


def test_captions_arrive_over_tls(client: httpx.Client) -> None:
    answer = ask(
        client, "POST", "/v1/caption", content=png(1), headers={"content-type": "image/png"}
    )
    assert answer.json()["results"][0]["caption"] == stub_caption(1)
    assert "max-age" in answer.headers["strict-transport-security"]


def test_the_page_can_send_requests_through_the_proxy(client: httpx.Client, port: int) -> None:
    assert "<h1" in ask(client, "GET", "/").text
    own = {"origin": f"https://{NAME}:{port}", "content-type": "image/png"}
    assert ask(client, "POST", "/v1/caption", content=png(1), headers=own).status_code == 200
    foreign = {**own, "origin": "https://elsewhere.example"}
    assert ask(client, "POST", "/v1/caption", content=png(1), headers=foreign).status_code == 403


def test_a_body_of_almost_64_megabytes_passes(client: httpx.Client) -> None:
    # Viewers ignore what follows the end of a PNG.
    large = png(2) + bytes(15_900_000)
    files = [("images", (f"{number}.png", large)) for number in range(4)]
    answer = ask(client, "POST", "/v1/caption", files=files)
    assert [result["caption"] for result in answer.json()["results"]] == [stub_caption(2)] * 4


def test_a_larger_body_is_refused(client: httpx.Client) -> None:
    body = bytes(70_000_000)
    headers = {"content-type": "application/octet-stream"}
    try:
        status = ask(client, "POST", "/v1/caption", content=body, headers=headers).status_code
    except httpx.WriteError:
        # nginx answers and closes while the body is still being sent.
        return
    assert status == 413


def test_streams_pass_through_the_proxy(client: httpx.Client) -> None:
    image = {"type": "image_url", "image_url": {"url": data_url(png(3))}}
    call = {"messages": [{"role": "user", "content": [image]}], "stream": True}
    answer = ask(client, "POST", "/v1/chat/completions", json=call)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.rstrip().endswith("data: [DONE]")


def data_url(content: bytes) -> str:
    """Return an image as a URL."""
    import base64

    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def test_metrics_are_not_public(client: httpx.Client) -> None:
    assert ask(client, "GET", "/metrics").status_code == 404


def test_a_request_without_a_key_gets_no_captions(client: httpx.Client) -> None:
    headers = {"authorization": "", "content-type": "image/png"}
    assert ask(client, "POST", "/v1/caption", content=png(1), headers=headers).status_code == 401


def test_plain_http_is_redirected_to_tls(folder: Path, port: int) -> None:
    plain = (folder / "plain-port").read_text()
    answer = httpx.get(f"http://127.0.0.1:{plain}/x", headers={"host": NAME}, trust_env=False)
    assert (answer.status_code, answer.headers["location"]) == (301, f"https://{NAME}/x")
