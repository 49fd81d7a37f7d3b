"""Records built on access equal the plain objects that they replace."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from captune.data import (
    CaptionTexts,
    LoadedData,
    LoadOptions,
    RecordStore,
    assign_splits,
    count_by_split,
    iter_plain,
    load_splits,
    pick_records,
    pick_split,
    save_splits,
    take_fraction,
)
from captune.data.record_store import store_records
from captune.data.rows import gathered
from captune.data.rows.gather import Row, gather_rows
from captune.records import CaptionRecord, TarMember, ZipMember

CONTENT = b"encoded image"
PLAIN = [
    CaptionRecord("a", Path("/data/a.jpg"), ("one", "two"), "train", "g", "a.jpg"),
    CaptionRecord("b", Path("b.jpg"), ("Ein Hünd \U0001f600 \u2028 x",), None, None, "b"),
    CaptionRecord("c", CONTENT, (), "val"),
    CaptionRecord("d", CONTENT, ("",), "test", "", "d"),
    CaptionRecord("e\udcff", ZipMember(Path("x.zip"), "e.png"), ("e",), "train"),
    CaptionRecord("f", TarMember(Path("/y.tar"), "f\udcff.png", 512, 9), ("f",), "val", "g"),
]


def test_a_store_equals_the_list_of_its_records():
    store = store_records(PLAIN)
    assert store == PLAIN
    assert store == PLAIN
    assert tuple(PLAIN) == store
    assert list(store) == PLAIN
    assert [store[place] for place in range(-6, 6)] == PLAIN + PLAIN
    assert store != PLAIN[:-1]
    assert store != [*PLAIN[:-1], PLAIN[0]]
    assert (store == "text") is False
    with pytest.raises(IndexError):
        store[6]


@pytest.mark.parametrize("chosen", [slice(1, 4), slice(None, None, -2), slice(10, 20), slice(3)])
def test_a_slice_of_a_store_is_a_store_of_the_same_records(chosen):
    store = store_records(PLAIN)
    assert isinstance(store[chosen], RecordStore)
    assert store[chosen] == PLAIN[chosen]
    assert store[::-1][chosen] == PLAIN[::-1][chosen]


def test_plain_records_have_the_content_of_records(tmp_path):
    store = store_records(PLAIN)
    expected = [
        ("a", str(Path("/data/a.jpg")), ("one", "two"), "g", "a.jpg"),
        # The name is omitted where it is the id.
        ("b", "b.jpg", ("Ein Hünd \U0001f600 \u2028 x",), None, None),
        ("c", CONTENT, (), None, ""),
        ("d", CONTENT, ("",), "", None),
        ("e\udcff", ZipMember(Path("x.zip"), "e.png"), ("e",), None, ""),
        ("f", TarMember(Path("/y.tar"), "f\udcff.png", 512, 9), ("f",), "g", ""),
    ]
    assert list(iter_plain(store)) == expected
    assert list(iter_plain(PLAIN)) == expected
    chosen = np.array([5, 2, 2])
    assert list(iter_plain(store.select(chosen))) == [expected[place] for place in chosen]
    (tmp_path / "a.jpg").touch()
    saved = [CaptionRecord("a", tmp_path / "a.jpg", ("one",), "train", None, "a.jpg")]
    save_splits(saved, tmp_path / "run")
    assert list(iter_plain(load_splits(tmp_path / "run"))) == list(iter_plain(saved))


def test_a_copy_for_another_process_is_equal():
    store = store_records(PLAIN)[1:]
    assert pickle.loads(pickle.dumps(store)) == PLAIN[1:]


def test_selections_and_splits_equal_those_of_a_list():
    store = store_records(PLAIN)
    places = np.array([4, 0, 0, 5])
    assert pick_records(store, places) == pick_records(PLAIN, places)
    assert count_by_split(store) == count_by_split(PLAIN)
    assert count_by_split(PLAIN) == {"train": 2, "val": 2, "test": 1, None: 1}
    assert pick_split(store, "val") == [PLAIN[2], PLAIN[5]]
    bare = [replace(record, split=None) for record in PLAIN]
    assert store.with_splits(np.full(6, 3, np.uint8)) == bare
    assert LoadedData(store) == LoadedData(PLAIN)


def test_captions_of_a_store_are_read_in_order():
    texts = CaptionTexts(store_records(PLAIN))
    plain = [caption for record in PLAIN for caption in record.captions]
    assert list(texts) == plain
    assert len(texts) == len(plain)
    assert texts[::2] == plain[::2]
    assert texts[-3:-1] == plain[-3:-1]
    assert texts[::-1] == plain[::-1]
    assert (texts[1], texts[-1]) == (plain[1], plain[-1])
    for place in (len(plain), -len(plain) - 1):
        with pytest.raises(IndexError, match="no caption"):
            texts[place]


def many(count: int, *, split=None, group: bool = False) -> list[CaptionRecord]:
    return [
        CaptionRecord(
            f"{number * 7919 % count:04d}",
            Path(f"/images/{number}.jpg"),
            (f"caption {number}",),
            split(number) if split else None,
            str(number // 3) if group else None,
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("by", ["image", "group"])
@pytest.mark.parametrize(
    ("split", "draw_rest"),
    [
        (None, False),
        (lambda number: "test" if number % 9 < 3 else "train", False),
        (lambda number: "test" if number % 9 < 3 else None, True),
        (lambda number: ("train", "val", "test", None)[number // 3 % 4], False),
    ],
)
def test_splits_drawn_for_a_store_equal_those_drawn_for_a_list(by, split, draw_rest):
    plain = many(90, split=split, group=True)
    options = {"by": by, "draw_rest": draw_rest, "seed": 3}
    drawn = assign_splits(store_records(plain), **options)
    assert isinstance(drawn, RecordStore)
    assert drawn == assign_splits(plain, **options)
    assert take_fraction(drawn, 0.4, seed=2) == take_fraction(list(drawn), 0.4, seed=2)


@pytest.mark.parametrize("kinds", [(Path,), (Path, ZipMember, TarMember), None])
def test_loaded_splits_equal_the_saved_ones_in_another_process_too(tmp_path, kinds):
    records = [
        replace(record, split=record.split or "test")
        for record in PLAIN
        if (kinds is None or isinstance(record.image, kinds)) and record.image_id != "b"
    ]
    expected = sorted(records, key=lambda record: ("train", "val", "test").index(record.split))
    save_splits(store_records(records), tmp_path / "one", seed=1)
    save_splits(records, tmp_path / "two", seed=1)
    for name in ("splits.json", "splits/train.jsonl", "splits/val.jsonl", "splits/test.jsonl"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    loaded = load_splits(tmp_path / "one")
    assert loaded == expected
    assert pickle.loads(pickle.dumps(loaded)) == expected
    assert pickle.loads(pickle.dumps(loaded[1:])) == expected[1:]


def test_images_whose_rows_are_far_apart_are_merged_as_if_all_were_kept(tmp_path, monkeypatch):
    for number in range(40):
        (tmp_path / f"{number}.jpg").touch()
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(42), 3)).tolist()
    rows = [
        Row(
            f"{number}.jpg",
            (f"caption {place}",),
            split=("train", "val", "test")[place % 3] if place % 5 == 0 else None,
            group=str(number) if place % 2 else None,
            columns={"place": place},
        )
        for place, number in enumerate(order)
    ]
    options = LoadOptions(keep_columns=True)
    whole = gather_rows(rows, options, format="x", root=tmp_path)
    monkeypatch.setattr(gathered, "_MOST_LIVE", 2)
    assert gather_rows(rows, options, format="x", root=tmp_path) == whole
    captions = [f"caption {place}" for place, number in enumerate(order) if number == order[0]]
    assert whole.records[0].captions == tuple(captions)
    assert len(whole.skipped) == 2
