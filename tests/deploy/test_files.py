"""The other files of a deployment: Dockerfile, Prometheus, and clients."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support.bulk.stub_captioner import write_stub
from support.places import ROOT
from support.serving.browser import KEY
from support.serving.live_server import LiveServer, live_server
from support.serving.pictures import png, stub_caption

DEPLOY = ROOT / "deploy"
CLIENTS = ROOT / "examples" / "serving"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Run a server that needs `KEY`."""
    folder = tmp_path_factory.mktemp("locked")
    write_stub(folder / "stub")
    (folder / "keys").write_text(f"{KEY}\n")
    with live_server(folder, ["stub"], "--api-key-file", "keys") as running:
        yield running


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Return two images, one with characters in its name that shells and curl read."""
    paths = [tmp_path / "one.png", tmp_path / "number two; a, b.png"]
    for number, path in enumerate(paths):
        path.write_bytes(png(number))
    return paths


def run_client(command: list[str], photos: list[Path], server: LiveServer) -> str:
    """Run a client with a key and return what it prints."""
    environment = {**os.environ, "CAPTUNE_URL": server.url, "CAPTUNE_KEY": KEY, "NO_PROXY": "*"}
    done = subprocess.run(
        [*command, *map(str, photos)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_python_client_prints_captions(locked: LiveServer, photos: list[Path]) -> None:
    found = run_client([sys.executable, str(CLIENTS / "caption.py")], photos, locked)
    expected = [f"{path}: {stub_caption(number)}" for number, path in enumerate(photos)]
    assert found.splitlines() == expected
    photos[0].write_bytes(b"")
    found = run_client([sys.executable, str(CLIENTS / "caption.py")], photos[:1], locked)
    assert found == f"{photos[0]}: the image has no bytes\n"


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl")
def test_the_curl_client_prints_the_answer(locked: LiveServer, photos: list[Path]) -> None:
    found = json.loads(run_client(["sh", str(CLIENTS / "caption.sh")], photos, locked))
    captions = [result["caption"] for result in found["results"]]
    assert captions == [stub_caption(0), stub_caption(1)]


@pytest.mark.skipif(not shutil.which("node"), reason="no node")
def test_the_javascript_client_prints_captions(locked: LiveServer, photos: list[Path]) -> None:
    found = run_client(["node", str(CLIENTS / "caption.mjs")], photos, locked)
    expected = [f"{path}: {stub_caption(number)}" for number, path in enumerate(photos)]
    assert found.splitlines() == expected


def test_prometheus_scrapes_metrics_with_the_shipped_file(locked: LiveServer) -> None:
    (job,) = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    kind = job["authorization"]["type"]
    with locked.client() as client:
        answer = client.get(job["metrics_path"], headers={"authorization": f"{kind} {KEY}"})
        assert answer.status_code == 200
        assert "captune_" in answer.text
        assert client.get(job["metrics_path"]).status_code == 401


def test_the_dockerfile_names_no_package_index() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert not re.findall(r"https?://(?!127\.0\.0\.1)\S+", text)
    assert {"PIP_INDEX_URL", "TORCH_INDEX_URL"} <= set(re.findall(r"^ARG (\w+)", text, re.M))


def test_the_containers_command_is_valid(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from captune.cli import main

    text = (DEPLOY / "Dockerfile").read_text()
    words = json.loads(re.search(r"^CMD (\[\"/models.*)$", text, re.M)[1])  # type: ignore[index]
    model = write_stub(tmp_path / "model")
    with pytest.raises(SystemExit) as caught:
        main(["serve", str(model), *words[1:]])
    # There is no such key file here: an error of the key file, not of the command line.
    assert caught.value.code == 2
    assert "captune-keys" in capfd.readouterr().err
