"""Tar shards at URLs: streamed, resumed after a broken connection, refused if unsafe."""

from __future__ import annotations

import io
import re
import socket
import tarfile
from collections.abc import Callable, Iterator

import pytest

from captune.data import LoadOptions, decode_image, load_records
from captune.errors import DataError
from captune.net.fetch import UrlFetcher
from captune.net.rules import UrlRules
from captune.net.stream import UrlStream
from support.hub.lying_server import LyingServer, lying_server

STREAMING = LoadOptions(streaming=True)


def make_tar(members: list[tuple[str, bytes]], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def samples(png_bytes) -> Callable[..., list[tuple[str, bytes]]]:
    """Return `n` samples from `start`, with one image and one text each."""

    def make(number: int, start: int = 0) -> list[tuple[str, bytes]]:
        return [
            member
            for n in range(start, start + number)
            for member in (
                (f"{n:06d}.png", png_bytes((n, 0, 0))),
                (f"{n:06d}.txt", f"Caption {n}".encode()),
            )
        ]

    return make


@pytest.fixture
def server() -> Iterator[LyingServer]:
    with lying_server() as running:
        yield running


def at(server: LyingServer, path: str) -> str:
    return f"http://127.0.0.1:{server.port}{path}"


def serve_in_parts(server: LyingServer, path: str, body: bytes, *lengths: int) -> list[str]:
    """Answers break off after so many bytes, one after the other, then none does.

    Returns:
        The `Range` of each request, empty where it had none.
    """
    ranges: list[str] = []
    rest = list(lengths)

    def answer(connection: socket.socket) -> None:
        head = server.heads[-1]
        found = re.search(r"^Range: bytes=(\d+)-\r$", head, re.MULTILINE)
        ranges.append(found[0].strip() if found else "")
        start = int(found[1]) if found else 0
        status = "206 Partial Content" if found else "200 OK"
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) - start}", 'ETag: "v1"']
        if found:
            lines.append(f"Content-Range: bytes {start}-{len(body) - 1}/{len(body)}")
        end = start + rest.pop(0) if rest else len(body)
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body[start:end])

    server.answers[path] = answer
    return ranges


def test_shards_named_by_braces_are_read_in_order(server, samples) -> None:
    server.say("/set/train-000.tar", make_tar(samples(2)))
    server.say("/set/train-001.tar", make_tar(samples(1, 2)))
    server.say("/set/val-000.tar", make_tar(samples(1, 3)))
    data = load_records(at(server, "/set/{train-000,train-001,val-000}.tar"), STREAMING)
    found = [(r.image_id, r.captions, r.split, r.file_name) for r in data.records]
    assert found == [
        ("000000", ("Caption 0",), "train", "train-000.tar/000000.png"),
        ("000001", ("Caption 1",), "train", "train-000.tar/000001.png"),
        ("000002", ("Caption 2",), "train", "train-001.tar/000002.png"),
        ("000003", ("Caption 3",), "val", "val-000.tar/000003.png"),
    ]
    assert decode_image(data.records[2].image).getpixel((0, 0)) == (2, 0, 0)
    assert (data.format, data.root) == ("webdataset", None)
    assert [line.split(" ")[1] for line in server.requests] == [
        "/set/train-000.tar",
        "/set/train-001.tar",
        "/set/val-000.tar",
    ]


def test_a_range_of_shards_is_read(server, samples) -> None:
    for number in range(3):
        server.say(f"/{number:05d}.tar?part=1", make_tar(samples(1, number)))
    data = load_records(at(server, "/{00000..00002}.tar?part=1"), STREAMING)
    assert [record.image_id for record in data.records] == ["000000", "000001", "000002"]


@pytest.mark.parametrize("mode", ["w:gz", "w:xz"])
def test_compressed_shards_are_unpacked_while_they_stream(server, samples, mode) -> None:
    server.say("/a.tar.gz", make_tar(samples(3), mode))
    data = load_records(at(server, "/a.tar.gz"), STREAMING)
    assert [record.captions for record in data.records] == [(f"Caption {n}",) for n in range(3)]


@pytest.mark.slow
def test_samples_are_available_before_the_shard_is_complete(server, samples) -> None:
    body = make_tar(samples(2000))
    half = len(body) // 2

    def answer(connection: socket.socket) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body[:half])
        # The rest is never sent: reading the complete shard would hang.
        server.stop.wait(60)

    server.answers["/big.tar"] = answer
    data = load_records(at(server, "/{big,never}.tar"), LoadOptions(streaming=True, limit=3))
    assert [record.image_id for record in data.records] == ["000000", "000001", "000002"]
    assert len(server.requests) == 1


def test_images_beyond_the_memory_limit_are_files_in_the_cache(
    server, samples, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("CAPTUNE_CACHE", str(tmp_path))
    server.say("/a.tar", make_tar(samples(4)))
    data = load_records(at(server, "/a.tar"), LoadOptions(streaming=True, memory_limit=0))
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 4
    assert "4 images of streamed tars stored as files" in data.notes[-1]
    assert decode_image(data.records[3].image).getpixel((0, 0)) == (3, 0, 0)


def test_a_broken_connection_resumes_where_it_stopped(server, samples) -> None:
    body = make_tar(samples(20))
    ranges = serve_in_parts(server, "/a.tar", body, 5000, 700, 0)
    data = load_records(at(server, "/a.tar"), STREAMING)
    assert [record.captions for record in data.records] == [(f"Caption {n}",) for n in range(20)]
    assert ranges == ["", "Range: bytes=5000-", "Range: bytes=5700-", "Range: bytes=5700-"]
    assert 'If-Range: "v1"' in server.heads[1]


def test_a_file_that_has_changed_is_not_joined_to_its_old_half(server, samples) -> None:
    body = make_tar(samples(20))
    serve_in_parts(server, "/a.tar", body, 5000)
    first = server.answers["/a.tar"]

    def answer(connection: socket.socket) -> None:
        if len(server.requests) == 1:
            return first(connection)
        server.say("/a.tar", make_tar(samples(20, 50)))
        return server.answers["/a.tar"](connection)

    server.answers["/a.tar"] = answer
    with pytest.raises(DataError, match="cannot read from a URL") as caught:
        load_records(at(server, "/a.tar"), STREAMING)
    assert "status 200" in caught.value.what


def test_a_silent_server_times_out(server, monkeypatch) -> None:
    monkeypatch.setattr("captune.net.stream._PAUSE_SECONDS", 0.01)
    ranges = serve_in_parts(server, "/a.tar", b"x" * 9000, 5000, *[0] * 9)
    with (
        UrlStream(at(server, "/a.tar")) as stream,
        pytest.raises(DataError, match=r"the connection ended 4000 bytes early"),
    ):
        while stream.read(1000):
            pass
    assert ranges == ["", *["Range: bytes=5000-"] * 5]


def test_a_shard_truncated_by_its_writer_loses_its_last_sample_and_is_reported(
    server, samples
) -> None:
    body = make_tar(samples(3))
    # In the middle of the third image.
    server.say("/a.tar", body[: body.index(b"000002.png") + 520])
    data = load_records(at(server, "/a.tar"), STREAMING)
    assert [record.image_id for record in data.records] == ["000000", "000001"]
    assert [image.reason for image in data.skipped] == ["truncated"]


def test_filters_choose_among_streamed_samples_and_keep_no_other_image(
    server, png_bytes, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("CAPTUNE_CACHE", str(tmp_path))
    members = [
        member
        for n in range(4)
        for member in (
            (f"{n}.png", png_bytes((n, 0, 0))),
            (f"{n}.json", f'{{"caption": "C {n}", "nsfw": {n % 2}}}'.encode()),
        )
    ]
    server.say("/a.tar", make_tar(members))
    options = LoadOptions(streaming=True, filters={"nsfw": "0"}, memory_limit=0)
    data = load_records(at(server, "/a.tar"), options)
    assert [record.captions for record in data.records] == [("C 0",), ("C 2",)]
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(kept) == sorted(record.image for record in data.records)


def test_hostile_names_are_listed(server, samples, png_bytes) -> None:
    server.say("/a.tar", make_tar([("../../out.png", png_bytes()), *samples(1)]))
    data = load_records(at(server, "/a.tar"), STREAMING)
    assert [record.image_id for record in data.records] == ["000000"]
    assert [image.reason for image in data.skipped] == ["unsafe_name"]


def test_without_streaming_nothing_is_requested_and_the_error_gives_a_fix(server) -> None:
    with pytest.raises(DataError, match="2 shards are at a URL") as caught:
        load_records(at(server, "/{0..1}.tar"))
    assert "data.streaming: true" in caught.value.fix
    assert "fetch the shards" in caught.value.fix
    assert server.requests == []


def test_a_missing_shard_is_named(server, samples) -> None:
    server.say("/0.tar", make_tar(samples(1)))
    server.say("/1.tar", b"", status="404 Not Found")
    with pytest.raises(DataError, match=r"/1\.tar: status 404"):
        load_records(at(server, "/{0..1}.tar"), STREAMING)


def test_a_response_that_is_not_a_tar_is_reported(server) -> None:
    server.say("/0.tar", b"<html>log in</html>" * 100)
    with pytest.raises(DataError, match=r"/0\.tar is not a tar archive"):
        load_records(at(server, "/0.tar"), STREAMING)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("pipe:curl -s https://example.org/0.tar", "captune does not run commands"),
        ("s3://bucket/{0..3}.tar", "s3:// addresses are not supported"),
        ("https://example.org/data.parquet", "only tar shards can be read from URLs"),
        ("https://[bad/data.parquet", "only tar shards can be read from URLs"),
        ("https://me:secret@example.org/0.tar", "it contains a user name"),
    ],
)
def test_other_addresses_are_refused_with_a_fix(place, message) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_records(place, STREAMING)
    assert caught.value.fix


def test_a_redirect_may_not_lead_to_a_private_address(server) -> None:
    server.redirect("/0.tar", "https://10.0.0.1/0.tar")
    with pytest.raises(DataError, match="not a public address"):
        load_records(at(server, "/0.tar"), STREAMING)


def test_a_redirect_may_not_lead_from_https_to_http(server) -> None:
    server.redirect("/0.tar", "http://data.example/0.tar")
    with pytest.raises(DataError, match="anyone on the network can read"):
        load_records(at(server, "/0.tar"), STREAMING)


def test_a_redirect_on_the_host_that_the_user_named_is_followed(server, samples) -> None:
    server.redirect("/0.tar", "/moved/0.tar")
    server.say("/moved/0.tar", make_tar(samples(1)))
    data = load_records(at(server, "/0.tar"), STREAMING)
    assert [record.image_id for record in data.records] == ["000000"]


def test_a_host_named_by_the_user_may_have_a_private_address_and_plain_http(server) -> None:
    server.say("/a.tar", b"whole")
    asked: list[str] = []

    def connect(address: str, port: int, *, seconds: float) -> socket.socket:
        asked.append(address)
        return socket.create_connection(("127.0.0.1", server.port), timeout=seconds)

    fetcher = UrlFetcher(
        UrlRules(max_seconds=5), resolve=lambda *_, **__: ["192.168.1.7"], connect=connect
    )
    with UrlStream("http://nas.local/a.tar", fetcher=fetcher) as stream:
        assert stream.read(100) == b"whole"
        assert stream.read(100) == b""
    assert asked == ["192.168.1.7"]
