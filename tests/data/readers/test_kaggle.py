"""`kaggle://owner/name` with the real kagglehub against a small server on this machine."""

from __future__ import annotations

import http.server
import io
import json
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from captune.data import load_records
from captune.data.readers.kaggle import fetch_kaggle
from captune.errors import DataError, MissingExtraError

CAPTIONS = 'image,caption\n1.png,"A dog, running ."\n1.png,Two .\n2.png,Three .\n'


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Isolate the tests from the user's credentials and cache."""
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
    return tmp_path


def write_cached(cache, draw_image, version=1, *, is_complete=True, below=""):
    base = cache / "datasets" / "adityajn105" / "flickr8k"
    folder = base / "versions" / str(version)
    for name in ("1.png", "2.png"):
        draw_image(folder / below / "Images" / name)
    (folder / below / "captions.txt").write_text(CAPTIONS)
    if is_complete:
        (base / f"{version}.complete").touch()
    return folder


def test_a_cached_set_is_read_without_package_and_network(home, draw_image, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    folder = write_cached(home / "cache", draw_image)
    data = load_records("kaggle://adityajn105/flickr8k")
    assert data.format == "flickr"
    assert {r.image_id: r.captions for r in data.records} == {
        "1.png": ("A dog, running .", "Two ."),
        "2.png": ("Three .",),
    }
    assert data.notes[0] == (
        f"kaggle://adityajn105/flickr8k: version 1 from kagglehub's cache, {folder}"
    )


def test_the_cache_may_be_in_the_home_folder(home, draw_image, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    monkeypatch.setenv("KAGGLEHUB_CACHE", "~/kaggle")
    write_cached(home / "home" / "kaggle", draw_image)
    assert len(load_records("kaggle://adityajn105/flickr8k").records) == 2


def test_the_newest_complete_version_is_used_unless_one_is_given(home, draw_image, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    for version in (2, 9, 10):
        write_cached(home / "cache", draw_image, version)
    write_cached(home / "cache", draw_image, 11, is_complete=False)
    name = "kaggle://adityajn105/flickr8k"
    assert fetch_kaggle(name)[0].name == "10"
    assert fetch_kaggle(f"{name}/versions/2")[0].name == "2"
    assert fetch_kaggle(name, version="9")[0].name == "9"
    with pytest.raises(MissingExtraError):
        fetch_kaggle(name, version="11")


def test_a_copy_with_a_single_folder_is_read_from_that_folder(home, draw_image):
    write_cached(home / "cache", draw_image, below="flickr8k/flickr8k")
    assert len(load_records("kaggle://adityajn105/flickr8k").records) == 2


def test_without_the_package_the_error_gives_both_ways_to_the_data(monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(MissingExtraError, match="kagglehub, which downloads it, is not") as caught:
        load_records("kaggle://adityajn105/flickr8k")
    assert "pip install 'captune[kaggle]'" in caught.value.fix
    assert "kaggle.com/datasets/adityajn105/flickr8k" in caught.value.fix


@pytest.mark.parametrize("name", ["flickr8k", "a/b/c", "a/../b", "", "a/b?x=1"])
def test_an_invalid_name_is_refused(name):
    with pytest.raises(DataError, match="is not a Kaggle data set") as caught:
        load_records(f"kaggle://{name}")
    assert "kaggle://owner/name" in caught.value.fix


# --- through the client -----------------------------------------------------------------------


class Kaggle(http.server.BaseHTTPRequestHandler):
    """The part of Kaggle that a download needs; answers with the class's `status`."""

    status = 200
    archive = b""
    asked: list[str]

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        method = self.path.rsplit("/", 1)[-1]
        self.asked.append(method)
        if self.status != 200:
            self.answer(json.dumps({"code": self.status, "message": "no"}).encode(), self.status)
        elif method == "GetDataset":
            self.answer(json.dumps({"currentVersionNumber": 3}).encode())
        else:
            self.answer(self.archive, kind="application/zip")

    def answer(self, content, status=200, kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def kaggle(monkeypatch, png_bytes):
    """Return a server that the client takes for a local Kaggle."""
    pytest.importorskip("kagglehub")
    from kagglesdk import kaggle_env

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("captions.txt", CAPTIONS)
        for name in ("1.png", "2.png"):
            archive.writestr(f"Images/{name}", png_bytes())
    handler = type("Answers", (Kaggle,), {"archive": buffer.getvalue(), "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, address)
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    yield handler
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_set_is_fetched_once_and_then_read_from_the_cache(home, kaggle):
    data = load_records("kaggle://adityajn105/flickr8k")
    folder = home / "cache" / "datasets" / "adityajn105" / "flickr8k" / "versions" / "3"
    assert data.notes[0].endswith(f"fetched by kagglehub into {folder}")
    assert len(data.records) == 2
    asked = list(kaggle.asked)
    assert asked == ["GetDataset", "DownloadDataset"]
    again = load_records("kaggle://adityajn105/flickr8k")
    assert again.records == data.records
    assert kaggle.asked == asked


@pytest.mark.slow
@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_without_credentials_explains_how_to_get_them(kaggle, status):
    kaggle.status = status
    with pytest.raises(DataError, match=rf"refuses owner/private \({status}\): no cred") as caught:
        load_records("kaggle://owner/private")
    assert "kaggle.com/settings" in caught.value.fix
    assert "KAGGLE_API_TOKEN" in caught.value.fix


@pytest.mark.slow
def test_refused_credentials_are_reported(kaggle, monkeypatch):
    kaggle.status = 403
    monkeypatch.setenv("KAGGLE_API_TOKEN", "not-a-real-token")
    with pytest.raises(DataError, match=r"\(403\) with the credentials found") as caught:
        load_records("kaggle://owner/private")
    assert "accept its terms" in caught.value.fix
    assert "not-a-real-token" not in str(caught.value)


@pytest.mark.slow
def test_a_name_that_kaggle_does_not_know_is_reported(kaggle):
    kaggle.status = 404
    with pytest.raises(DataError, match="Kaggle has no data set owner/gone"):
        load_records("kaggle://owner/gone")


@pytest.mark.slow
def test_a_server_error_and_a_broken_archive_are_reported_and_can_be_retried(kaggle):
    kaggle.status = 503
    with pytest.raises(DataError, match="fetching kaggle://owner/name failed"):
        load_records("kaggle://owner/name")
    kaggle.status, whole = 200, kaggle.archive
    kaggle.archive = whole[: len(whole) // 2]
    with pytest.raises(DataError, match="failed") as caught:
        load_records("kaggle://owner/name")
    assert "by hand" in caught.value.fix
    kaggle.archive = whole
    assert len(load_records("kaggle://owner/name").records) == 2


@pytest.mark.slow
def test_without_a_network_the_cache_is_named(kaggle, monkeypatch, home):
    from kagglesdk import kaggle_env

    # A port without a listener.
    nowhere = "http://127.0.0.1:9"
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, nowhere)
    with pytest.raises(DataError, match="cannot reach Kaggle to fetch owner/name") as caught:
        load_records("kaggle://owner/name")
    assert str(Path(home) / "cache") in caught.value.where
