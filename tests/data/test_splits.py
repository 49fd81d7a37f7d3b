"""Splits: drawn, kept, saved and read back."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captune.data import (
    LoadOptions,
    assign_splits,
    load_records,
    load_splits,
    save_splits,
    select_split,
    take_fraction,
)
from captune.errors import DataError
from captune.records import SPLITS, CaptionRecord, ZipMember


def make_records(number, *, split=None, group=None):
    return [
        CaptionRecord(f"id{n:03}", Path(f"/d/{n}.jpg"), (f"c{n}",), split, group and group(n))
        for n in range(number)
    ]


def count(records):
    return Counter(record.split for record in records)


def test_shares_count_images_and_train_gets_what_rounding_leaves():
    assert count(assign_splits(make_records(8091))) == {"train": 6473, "val": 809, "test": 809}
    assert count(assign_splits(make_records(10))) == {"train": 8, "val": 1, "test": 1}


def test_a_small_set_still_gets_one_image_in_every_split():
    # 6 images, the football set: a tenth rounds to nothing.
    assert count(assign_splits(make_records(6))) == {"train": 4, "val": 1, "test": 1}
    assert count(assign_splits(make_records(3))) == {"train": 1, "val": 1, "test": 1}


def test_too_few_images_are_an_error_that_names_the_empty_split():
    with pytest.raises(DataError, match="2 images cannot fill 3 splits: test would be empty"):
        assign_splits(make_records(2))
    with pytest.raises(DataError, match="the data set is empty"):
        assign_splits([])


def test_a_share_of_zero_leaves_its_split_empty():
    records = assign_splits(make_records(10), fractions=(0.9, 0.1, 0.0))
    assert count(records) == {"train": 9, "val": 1}


def test_the_seed_draws_and_the_order_of_the_records_does_not():
    records = make_records(50)
    by_id = {record.image_id: record.split for record in assign_splits(records, seed=1)}
    turned = assign_splits(records[::-1], seed=1)
    assert {record.image_id: record.split for record in turned} == by_id
    assert [record.image_id for record in turned] == [r.image_id for r in records[::-1]]
    assert {r.image_id: r.split for r in assign_splits(records, seed=2)} != by_id


def test_a_known_draw_never_changes():
    # A changed draw would silently move test images into training of a resumed run.
    records = assign_splits(make_records(12), seed=42)
    assert [record.image_id for record in records if record.split == "test"] == KNOWN_TEST
    assert [record.image_id for record in records if record.split == "val"] == KNOWN_VAL


KNOWN_VAL = ["id007"]
KNOWN_TEST = ["id005"]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=3, max_size=40),
    seed=st.integers(0, 5),
)
def test_groups_are_never_cut_and_no_split_is_empty(sizes, seed):
    groups = [f"g{place}" for place, size in enumerate(sizes) for _ in range(size)]
    records = [CaptionRecord(f"i{n}", b"", ("c",), group=group) for n, group in enumerate(groups)]
    drawn = assign_splits(records, seed=seed, by="group")
    splits: dict[str, set[str]] = {}
    for record in drawn:
        splits.setdefault(record.group, set()).add(record.split)
    assert all(len(found) == 1 for found in splits.values())
    assert set(count(drawn)) == {"train", "val", "test"}


def test_shares_of_small_groups_are_exact_to_one_group():
    records = make_records(300, group=lambda n: f"g{n // 3}")
    assert count(assign_splits(records, by="group")) == {"train": 240, "val": 30, "test": 30}


def test_a_group_larger_than_its_share_stays_in_train():
    records = make_records(20, group=lambda n: "big" if n < 15 else f"g{n}")
    drawn = assign_splits(records, by="group")
    assert {record.split for record in drawn if record.group == "big"} == {"train"}


def test_splits_by_image_ignore_groups():
    records = make_records(20, group=lambda n: "one")
    assert set(count(assign_splits(records, by="image"))) == {"train", "val", "test"}
    with pytest.raises(DataError, match="1 group cannot fill 3 splits"):
        assign_splits(records, by="group")


def test_given_splits_are_kept_and_records_without_one_are_skipped():
    records = make_records(4)
    given = [
        replace(r, split=s) for r, s in zip(records, ("val", "train", None, "train"), strict=True)
    ]
    assert assign_splits(given) == [given[0], given[1], given[3]]


def test_val_is_drawn_from_train_if_only_train_and_test_are_given():
    train = [replace(r, split="train") for r in make_records(90)]
    test = [CaptionRecord(f"t{n}", b"", ("c",), "test") for n in range(50)]
    drawn = assign_splits([*train, *test])
    # 0.1 of the 0.9 that are not test: a ninth of 90.
    assert count(drawn) == {"train": 80, "val": 10, "test": 50}
    assert {r.image_id for r in drawn if r.split == "test"} == {r.image_id for r in test}
    assert count(assign_splits([*train, *test], fractions=(0.9, 0.0, 0.1))) == {
        "train": 90,
        "test": 50,
    }


def test_selecting_a_split_that_is_empty_names_those_that_are_not():
    records = [replace(r, split="train") for r in make_records(3)]
    assert select_split(records, "train") == records
    with pytest.raises(
        DataError, match=r"split test has no images; splits with images: train \(3 images\)"
    ):
        select_split(records, "test")


def test_a_share_is_of_the_training_images_and_contains_smaller_shares():
    records = assign_splits(make_records(100))
    half, tenth = (take_fraction(records, share, seed=0) for share in (0.5, 0.1))
    assert count(half) == {"train": 40, "val": 10, "test": 10}
    assert count(tenth) == {"train": 8, "val": 10, "test": 10}
    assert {r.image_id for r in tenth} < {r.image_id for r in half}
    assert take_fraction(records, 1.0, seed=0) == records


# --- on disk ----------------------------------------------------------------------------------


def test_saved_splits_load_exactly_for_every_kind_of_image(tmp_path, draw_image, png_bytes):
    records = [
        CaptionRecord("p", draw_image(tmp_path / "d" / "x" / "p.png"), ("a, b", 'c "d"'), "train"),
        CaptionRecord("q", draw_image(tmp_path / "d" / "q.png"), (), "train", "group", "q.png"),
        CaptionRecord("z", ZipMember(Path("a.zip"), "in/z.png"), ("é \U0001f600",), "val"),
        CaptionRecord("b", png_bytes(), ("c",), "test"),
        CaptionRecord("b2", png_bytes(), ("c",), "test"),
    ]
    save_splits(records, tmp_path / "run", seed=7)
    assert load_splits(tmp_path / "run") == records
    assert load_records(tmp_path / "run").records == tuple(records)


def test_splits_json_counts_rows_and_unique_images(tmp_path):
    records = [
        CaptionRecord("a", Path("d/a.jpg"), ("1", "2"), "train"),
        CaptionRecord("b", Path("d/b.jpg"), ("3",), "val"),
    ]
    save_splits(records, tmp_path, seed=42)
    summary = json.loads((tmp_path / "splits.json").read_text())
    assert summary["seed"] == 42
    assert summary["splits"] == {
        "train": {"rows": 2, "unique_images": 1},
        "val": {"rows": 1, "unique_images": 1},
        "test": {"rows": 0, "unique_images": 0},
    }
    line = json.loads((tmp_path / "splits" / "train.jsonl").read_text())
    assert line["image"] == "a.jpg"


def test_relative_paths_stay_relative(tmp_path):
    records = [CaptionRecord("a", Path("d/a.jpg"), ("1",), "train")]
    save_splits(records, tmp_path)
    assert load_splits(tmp_path) == records


def test_a_run_moved_together_with_its_data_still_finds_its_images(tmp_path, draw_image):
    image = draw_image(tmp_path / "old" / "data" / "a.png")
    save_splits([CaptionRecord("a", image, ("1",), "train")], tmp_path / "old" / "run")
    (tmp_path / "old").rename(tmp_path / "new")
    (record,) = load_splits(tmp_path / "new" / "run")
    assert record.image.resolve() == tmp_path / "new" / "data" / "a.png"


def test_saving_again_replaces_what_was_there(tmp_path, png_bytes):
    save_splits([CaptionRecord("b", png_bytes(), ("c",), "test")], tmp_path)
    save_splits([CaptionRecord("a", Path("d/a.jpg"), ("1",), "train")], tmp_path)
    assert [record.image_id for record in load_splits(tmp_path)] == ["a"]
    assert not (tmp_path / "splits" / "images.zip").exists()


def test_records_without_a_split_are_refused_on_saving(tmp_path):
    with pytest.raises(DataError, match="1 record has no split, such as id000"):
        save_splits(make_records(1), tmp_path)
    assert not (tmp_path / "splits.json").exists()


@pytest.mark.parametrize("missing", ["splits.json", "splits"])
def test_a_run_without_its_splits_is_not_taken_for_another_data_set(tmp_path, missing):
    for name in {"splits.json", "stages.json", "recipe.yaml"} - {missing}:
        (tmp_path / name).write_text("{}")
    (tmp_path / "results.csv").write_text("image,caption\na.jpg,a dog\n")
    if missing != "splits":
        (tmp_path / "splits").mkdir()
    with pytest.raises(DataError, match=r"no splits\.json with a folder splits/") as caught:
        load_records(tmp_path)
    assert "--only prepare" in caught.value.fix


def test_missing_and_broken_saved_splits_are_reported(tmp_path):
    with pytest.raises(DataError, match=r"no splits.json in .*") as caught:
        load_splits(tmp_path)
    assert "captune run RECIPE --from prepare --only prepare" in caught.value.fix
    (tmp_path / "splits.json").mkdir()
    with pytest.raises(DataError, match=r"splits\.json is a folder, not a regular file"):
        load_splits(tmp_path)
    (tmp_path / "splits.json").rmdir()
    save_splits([CaptionRecord("a", Path("d/a.jpg"), ("1",), "train")], tmp_path)
    path = tmp_path / "splits" / "train.jsonl"
    image = '{"archive": "a.tar", "member": "b", "offset": 1e999, "size": 1}'
    for line in ('{"image_id": "a"}', f'{{"image_id": "a", "captions": [], "image": {image}}}'):
        path.write_text(f"{line}\n")
        with pytest.raises(DataError, match="not a saved record") as caught:
            load_splits(tmp_path)
        assert caught.value.where == f"{path}, line 1"
    # Drawn again, splits are the same: training again would be hours for nothing.
    assert "--from prepare --only prepare" in caught.value.fix


@pytest.mark.slow
@pytest.mark.real_data
def test_the_real_flickr8k_round_trips(tmp_path, real_data):
    records = assign_splits(load_records(real_data / "flickr8k").records)
    save_splits(records, tmp_path)
    assert set(load_splits(tmp_path)) == set(records)


# --- redrawing, and lists for some splits only ---------------------------------------------------


def write_table(folder, draw_image, splits):
    lines = ["image,caption,split"]
    for number, split in enumerate(splits):
        draw_image(folder / f"{number}.png", (number, 0, 0))
        lines.append(f"{number}.png,Caption {number},{split}")
    (folder / "d.csv").write_text("\n".join(lines))


def sizes(records):
    return tuple(sum(record.split == split for record in records) for split in SPLITS)


def test_own_splits_are_kept_unless_they_are_redrawn(tmp_path, draw_image):
    write_table(tmp_path, draw_image, ["train"] * 4 + ["val"] * 3 + ["test"] * 3)
    kept = load_records(tmp_path)
    assert sizes(assign_splits(kept.records)) == (4, 3, 3)
    redrawn = load_records(tmp_path, LoadOptions(redraw=True))
    assert sizes(assign_splits(redrawn.records)) == (8, 1, 1)
    assert any("(4 train, 3 val, 3 test) are ignored" in note for note in redrawn.notes)


@pytest.mark.parametrize(
    ("lists", "counts"),
    [
        ({"test": "0.png\n1.png"}, (7, 1, 2)),
        ({"val": "0.png\n1.png"}, (7, 2, 1)),
        ({"val": "0.png", "test": "1.png"}, (8, 1, 1)),
        ({"train": "0.png\n1.png", "test": "2.png"}, (1, 1, 1)),
    ],
)
def test_splits_without_a_list_are_drawn_from_the_rest(tmp_path, draw_image, lists, counts):
    write_table(tmp_path, draw_image, [""] * 10)
    for split, names in lists.items():
        (tmp_path / f"{split}.lst").write_text(names)
    files = {split: tmp_path / f"{split}.lst" for split in lists}
    data = load_records(tmp_path, LoadOptions(split_files=files))
    records = assign_splits(data.records, draw_rest=data.draws_rest)
    assert sizes(records) == counts
    for split, names in lists.items():
        listed = {record.image_id for record in records if record.image_id in names.split()}
        assert split == "train" or listed == {r.image_id for r in records if r.split == split}


def test_a_split_list_names_an_image_by_its_id_before_the_file_name_of_another(
    tmp_path, draw_image
):
    rows = ["image,caption,image_id"]
    for name, image_id in (("2.png", "1"), ("1.png", "2"), ("3.png", "3")):
        draw_image(tmp_path / name)
        rows.append(f"{name},A dog,{image_id}")
    (tmp_path / "data.csv").write_text("\n".join(rows))
    (tmp_path / "test.lst").write_text("2")
    data = load_records(tmp_path, LoadOptions(split_files={"test": tmp_path / "test.lst"}))
    assert {r.image_id: r.split for r in data.records} == {"1": None, "2": "test", "3": None}


def test_a_name_in_a_split_list_that_fits_several_images_is_reported_and_not_used(
    tmp_path, draw_image
):
    rows = ["image,caption"]
    for name in ("a/1.png", "b/1.png", "b/2.png"):
        draw_image(tmp_path / name)
        rows.append(f"{name},A dog")
    (tmp_path / "data.csv").write_text("\n".join(rows))
    names = tmp_path / "test.lst"
    options = LoadOptions(split_files={"test": names})
    names.write_text("1.png\n2.png")
    data = load_records(tmp_path, options)
    assert {r.image_id for r in data.records if r.split == "test"} == {"b/2.png"}
    assert any("1 name of test.lst not used" in note and "1.png" in note for note in data.notes)

    names.write_text("1")
    with pytest.raises(DataError, match="each of its names fits several images, such as '1'"):
        load_records(tmp_path, options)
    for absent in ("absent.lst", tmp_path / "absent.lst", "", tmp_path):
        with pytest.raises(DataError, match="is not a file") as caught:
            load_records(tmp_path, LoadOptions(split_files={"test": absent}))
        assert caught.value.where.startswith("data.split_files.test")


def test_a_data_set_that_gives_only_test_gets_train_and_val_from_the_rest(tmp_path, draw_image):
    write_table(tmp_path, draw_image, ["test", "test", *[""] * 8])
    data = load_records(tmp_path)
    assert sizes(assign_splits(data.records, draw_rest=data.draws_rest)) == (7, 1, 2)
    assert data.notes == (
        "8 images are in no split: the splits that the data set does not give are drawn from them"
        " (it gives only test)",
    )


def test_a_table_beside_only_a_test_table_is_used_for_training(tmp_path, draw_image):
    for number in range(10):
        draw_image(tmp_path / f"{number}.png")
    for name, numbers in (("train_val", range(8)), ("test", range(8, 10))):
        rows = "".join(f"{number}.png,A dog\n" for number in numbers)
        (tmp_path / f"{name}.csv").write_text(f"image,caption\n{rows}")
    data = load_records(tmp_path)
    records = assign_splits(data.records, draw_rest=data.draws_rest)
    assert sizes(records) == (7, 1, 2)
    assert {record.file_name for record in records if record.split == "test"} == {"8.png", "9.png"}


def test_a_group_is_not_cut_between_a_list_and_the_rest():
    records = [
        CaptionRecord(str(n), b"", ("A",), split="test" if n == 0 else None, group=f"g{n // 2}")
        for n in range(10)
    ]
    with pytest.raises(DataError, match="the group g0 is partly in the given split test"):
        assign_splits(records, by="group", draw_rest=True)
    assert sizes(assign_splits(records, draw_rest=True)) == (8, 1, 1)
