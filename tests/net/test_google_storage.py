"""Google's storage, `gs://`: listed and read from a server of its protocol."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import fsspec
import httpx
import pytest

from captune.errors import DataError, ImageError
from captune.net import ObjectFetcher, list_objects

emulator = pytest.importorskip("gcp_storage_emulator.server", reason="pip install it")

JPEGS = frozenset({".jpg"})
_KEYS = ("a/2.jpg", "a/1.JPG", "a/notes.txt", "a/deep/3.jpg", "b/4.jpg", "a.jpg")


@pytest.fixture(scope="module")
def storage() -> Iterator[None]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="photos")
    server.start()
    patch = pytest.MonkeyPatch()
    gcsfs = pytest.importorskip("gcsfs", reason="needs the extra gs")
    patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    # As FSSPEC_GS_TOKEN=anon in the environment: without it, gcsfs looks for credentials.
    patch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
    try:
        for key in _KEYS:
            httpx.post(
                f"http://127.0.0.1:{port}/upload/storage/v1/b/photos/o",
                params={"uploadType": "media", "name": key},
                content=key.encode(),
                trust_env=False,
            ).raise_for_status()
        yield
    finally:
        gcsfs.GCSFileSystem.clear_instance_cache()
        patch.undo()
        server.stop()


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("gs://photos/a/", ["a/1.JPG", "a/2.jpg", "a/deep/3.jpg"]),
        ("gs://photos", ["a.jpg", "a/1.JPG", "a/2.jpg", "a/deep/3.jpg", "b/4.jpg"]),
        ("gs://photos/*/*.jpg", ["a/2.jpg", "b/4.jpg"]),
        ("gs://photos/a/notes.txt", ["a/notes.txt"]),
    ],
)
def test_a_prefix_a_glob_or_a_name_lists_its_images_in_order(storage, place, expected):
    found = [one.url for one in list_objects(place, suffixes=JPEGS)]
    assert found == [f"gs://photos/{key}" for key in expected]


def test_a_listing_has_sizes_and_times(storage):
    (found,) = list_objects("gs://photos/b/", suffixes=JPEGS)
    assert found.size == len("b/4.jpg")
    assert found.mtime_ns


def test_an_object_is_read_completely(storage):
    assert ObjectFetcher().fetch("gs://photos/a/deep/3.jpg") == b"a/deep/3.jpg"


def test_a_missing_object_and_one_that_is_too_large_are_errors_of_their_images(storage):
    with pytest.raises(ImageError, match=r"gs://photos/gone\.jpg") as missing:
        ObjectFetcher().fetch("gs://photos/gone.jpg")
    assert missing.value.what == "missing"
    with pytest.raises(ImageError) as large:
        ObjectFetcher(max_bytes=3).fetch("gs://photos/a.jpg")
    assert large.value.what == "url_too_large"


@pytest.mark.parametrize("place", ["gs://photos/none/", "gs://no-bucket/"])
def test_a_place_without_images_is_an_error(storage, place):
    with pytest.raises(DataError, match=r"no images at|cannot list"):
        list_objects(place, suffixes=JPEGS)
