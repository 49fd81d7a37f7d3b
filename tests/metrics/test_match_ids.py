"""Different ids of predictions and references for the same files."""

from __future__ import annotations

import pytest

from captune.metrics import match_image_ids


@pytest.mark.parametrize(
    ("references", "predictions", "names", "by"),
    [
        (["139", "285"], ["000000000139.jpg", "000000000285.jpg"], {}, "number"),
        (["139", "285"], ["COCO_val2014_000000000139.jpg", "x/COCO_val2014_285.jpg"], {}, "number"),
        (["139", "285"], ["/data/v/a.jpg", "/data/v/b.jpg"], {"139": "a.jpg", "285": "b.jpg"}, ""),
        (["a", "b"], ["photos/a.jpg", "photos/b.png"], {}, "folders and extension"),
        (["a.jpg", "b.jpg"], ["C:\\photos\\A.JPG", "C:\\photos\\b.jpg"], {}, "file name"),
        (["v/a.jpg", "w/a.jpg"], ["v\\a.jpg", "w\\a.jpg"], {}, "file name"),
        (["000000000139.jpg"], ["139"], {}, "number"),
        (["a.jpg"], ["a"], {}, "folders and extension"),
        (["139"], ["https://host/v/000000000139.jpg?x=1.5#y"], {}, "number"),
        (["a b.jpg"], ["http://[host/a%20b.jpg"], {}, "file name without folders"),
    ],
)
def test_ids_are_matched_by_their_common_part(
    references: list[str], predictions: list[str], names: dict[str, str], by: str
) -> None:
    match = match_image_ids(references, predictions, names=names)
    assert match.ids == dict(zip(predictions, references, strict=True))
    assert by in match.by


def test_equal_ids_are_not_matched_to_others() -> None:
    match = match_image_ids(["1", "2"], ["1", "photos/2.jpg", "photos/1.jpg"], names={})
    assert match.ids == {"photos/2.jpg": "2"}


@pytest.mark.parametrize(
    ("references", "predictions"),
    [
        (["1"], ["a/1.jpg", "b/1.jpg"]),
        (["a/1.jpg", "b/1.jpg"], ["1.jpg"]),
        (["x"], ["y"]),
        (["dog 2.1"], ["cat 2.1"]),
    ],
)
def test_ids_that_do_not_match_one_to_one_are_not_matched(
    references: list[str], predictions: list[str]
) -> None:
    assert match_image_ids(references, predictions, names={}).ids == {}


def test_a_match_is_described_with_an_example() -> None:
    match = match_image_ids(["139"], ["v/000000000139.jpg"], names={})
    assert match.describe() == (
        "1 image id is matched to those of the references by the number at the end of the"
        " file name, such as 'v/000000000139.jpg' to '139'"
    )
