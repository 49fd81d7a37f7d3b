"""`captune caption --allow-urls`, tested against a server on loopback."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from captune.cli import main
from captune.errors import DataError
from captune.inference import UrlFetcher, UrlRules, load
from captune.models import build_size, train_tokenizer
from captune.recipe import TokenizerConfig


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder: the journal of text files for URLs is written to the current one."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = train_tokenizer(
        ["a red dog on the grass"], TokenizerConfig(kind="word", min_count=1)
    )
    path = tmp_path_factory.mktemp("url-model")
    captioner = build_size("blip-tiny", tokenizer)
    # With random weights, all tokens may be special: an empty caption.
    captioner.model.generation_config.suppress_tokens = tokenizer.all_special_ids
    captioner.save(path)
    return path


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    """HOST:PORT of a server with one picture and one page."""
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(buffer, "PNG")
    bodies = {"/a.png": buffer.getvalue(), "/page.jpg": b"<html>not here</html>"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = bodies.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["caption", *map(str, words)])
    return int(caught.value.code or 0)


def test_urls_are_opened_only_when_they_are_allowed(model, host, capsys):
    assert run(model, f"http://{host}/a.png") == 2
    error = capsys.readouterr().err
    assert f"http://{host}/a.png is a URL" in error
    assert "--allow-urls" in error


def test_a_url_gets_the_caption_of_the_same_file(model, host, tmp_path):
    file = tmp_path / "a.png"
    Image.new("RGB", (40, 30), "red").save(file)
    out = tmp_path / "captions.jsonl"
    url = f"http://{host}/a.png"
    assert run(model, url, file, "--allow-urls", "--trust-host", host, "--out", out) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["image_id"] for row in rows] == [str(file), url]
    assert rows[0]["caption"] == rows[1]["caption"] != ""


def test_a_private_host_is_refused_before_the_model_is_loaded(host, capsys):
    assert run("no-such-model", f"http://{host}/a.png", "--allow-urls") == 3
    error = capsys.readouterr().err
    assert "failed:url_forbidden" in error
    assert f"--trust-host {host}" in error


def test_a_private_address_behind_https_is_refused_at_the_connection(model, capsys):
    assert run(model, "https://localhost./a.png", "--allow-urls") == 3
    assert "failed:url_forbidden  https://localhost./a.png" in capsys.readouterr().err


def test_content_from_a_url_goes_through_the_isolated_decoder(model, host, capsys):
    words = (f"http://{host}/page.jpg", f"http://{host}/gone.png", f"http://{host}/a.png")
    assert run(model, *words, "--allow-urls", "--trust-host", host) == 3
    printed = capsys.readouterr()
    assert f"failed:not_an_image  {words[0]}" in printed.err
    assert f"failed:url_status  {words[1]}" in printed.err
    assert printed.out.startswith(f"{words[2]}\t")


def test_text_files_beside_urls_are_refused(model, host, capsys):
    words = (f"http://{host}/a.png", "--allow-urls", "--trust-host", host, "--to", "txt")
    assert run(model, *words) == 2
    assert "--to txt needs image files on disk, not a URL" in capsys.readouterr().err


def test_trust_host_without_allow_urls_is_an_error(model, host, capsys):
    assert run(model, f"http://{host}/a.png", "--trust-host", host) == 2
    assert "add --allow-urls" in capsys.readouterr().err


def test_python_opens_urls_only_with_a_fetcher(model, host):
    loaded = load(model, device="cpu")
    url = f"http://{host}/a.png"
    with pytest.raises(DataError, match="is a URL"):
        loaded.caption(url)
    fetcher = UrlFetcher(UrlRules(trusted_hosts=frozenset([host])))
    assert [p.image_id for p in loaded.caption(url, urls=fetcher)] == [url]


@pytest.mark.slow
def test_compare_shows_an_image_behind_a_url(model, host, tmp_path, capsys):
    other = tmp_path / "other"
    tokenizer = train_tokenizer(["a red dog"], TokenizerConfig(kind="word", min_count=1))
    build_size("git-tiny", tokenizer).save(other)
    words = ["compare", model, other, "--data", "shapes:8", "--device", "cpu", "--metrics", "bleu"]
    words += ["--num-beams", 1, "--max-new-tokens", 4, "--resamples", 100]
    words += ["--images", f"http://{host}/a.png", "--out", tmp_path / "out"]
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    assert caught.value.code == 2
    assert "--allow-urls" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main([*(str(word) for word in words), "--allow-urls", "--trust-host", host])
    assert not caught.value.code
    printed = capsys.readouterr().out
    assert "a.png\n  " in printed
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "a.png" in page


def test_compare_stops_before_any_model_at_a_url_without_an_image(host, capsys):
    words = ["compare", "no-such-model", "--data", "shapes:8", "--allow-urls", "--trust-host", host]
    with pytest.raises(SystemExit) as caught:
        main([*words, "--images", f"http://{host}/page.jpg"])
    assert caught.value.code == 2
    assert "not_an_image" in capsys.readouterr().err
