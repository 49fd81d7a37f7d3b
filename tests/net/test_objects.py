"""Object storage: listings are lazy and in order, objects are read late, faults are named."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from captune.errors import DataError, ImageError, MissingExtraError
from captune.net import ObjectFetcher, check_storage, is_object_url, list_objects
from support.object_storage import Storage, object_storage

for package in ("moto", "flask", "s3fs"):
    pytest.importorskip(package, reason="needs the extras s3 and dev")

JPEGS = frozenset({".jpg"})


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    with object_storage() as started:
        for key in ("a/2.jpg", "a/1.JPG", "a/notes.txt", "a/deep/3.jpg", "b/4.jpg", "a.jpg"):
            started.put(key, key.encode())
        yield started


def urls(place: str) -> list[str]:
    return [one.url for one in list_objects(place, suffixes=JPEGS)]


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("s3://photos/a/", ["a/1.JPG", "a/2.jpg", "a/deep/3.jpg"]),
        ("s3://photos/a", ["a/1.JPG", "a/2.jpg", "a/deep/3.jpg"]),
        ("s3://photos", ["a.jpg", "a/1.JPG", "a/2.jpg", "a/deep/3.jpg", "b/4.jpg"]),
        ("s3://photos/*/*.jpg", ["a/2.jpg", "b/4.jpg"]),
        ("s3://photos/a/[12].*", ["a/1.JPG", "a/2.jpg"]),
        ("s3://photos/a/notes.txt", ["a/notes.txt"]),
    ],
)
def test_a_prefix_a_glob_or_a_name_lists_its_images_in_order(storage, place, expected):
    assert urls(place) == [f"s3://photos/{key}" for key in expected]


def test_a_listing_has_sizes_and_times(storage):
    (found,) = list_objects("s3://photos/b/", suffixes=JPEGS)
    assert found.size == len("b/4.jpg")
    assert found.mtime_ns


@pytest.mark.parametrize("place", ["s3://photos/none/", "s3://no-bucket/", "s3://photos/a/*.png"])
def test_a_place_without_images_is_an_error_at_once(storage, place):
    with pytest.raises(DataError, match=r"no images at|cannot list") as error:
        list_objects(place, suffixes=JPEGS)
    assert place.rstrip("/") in error.value.what


def test_an_object_is_read_completely_by_a_fetcher_sent_to_another_process(storage):
    fetcher = pickle.loads(pickle.dumps(ObjectFetcher()))
    assert fetcher.fetch("s3://photos/a/2.jpg") == b"a/2.jpg"


@pytest.mark.parametrize(
    ("url", "limit", "reason"),
    [
        ("s3://photos/a/gone.jpg", 100, "missing"),
        ("s3://photos/a/2.jpg", 3, "url_too_large"),
        ("s3://no-bucket/a.jpg", 100, "missing"),
    ],
)
def test_the_error_for_an_unreadable_object_names_the_reason_and_the_object(
    storage, url, limit, reason
):
    with pytest.raises(ImageError) as error:
        ObjectFetcher(limit).fetch(url)
    assert (error.value.what, url in error.value.where) == (reason, True)


def test_names_of_objects_are_distinguished_from_paths_and_urls():
    assert [is_object_url(text) for text in ("s3://b/k", "gs://b/k", "s3:/b/k")] == [True] * 3
    assert not any(map(is_object_url, ("https://h/s3://b", "s3/b/k", "photos/s3:", "C:/a.jpg")))


@pytest.mark.skipif(find_spec("gcsfs") is not None, reason="gcsfs is installed")
def test_the_error_for_storage_without_its_package_names_what_to_install():
    with pytest.raises(MissingExtraError) as error:
        check_storage("gs://bucket/a.jpg")
    assert error.value.fix == "pip install 'captune[gs]'"


@pytest.mark.skipif(find_spec("gcsfs") is None, reason="needs the extra gs")
def test_no_traceback_of_a_storage_package_is_printed_beside_the_error() -> None:
    # In another process: pytest's own handlers would take the record.
    code = """
import logging, fsspec
from captune.errors import DataError
from captune.net import list_objects
class Store:
    def __getattr__(self, name):
        def fail(*_, **__):
            try:
                raise OSError("no network")
            except OSError:
                logging.getLogger("gcsfs").exception("out of retries")
                raise
        return fail
fsspec.filesystem = lambda *_, **__: Store()
try:
    list(list_objects("gs://photos/a", suffixes=frozenset({".jpg"})))
except DataError as error:
    print(error.what)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "cannot list gs://photos/a: no network\n"
    assert done.stderr == ""
