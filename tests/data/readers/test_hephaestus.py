"""Hephaestus in each layout: zips in place, unpacked, and the authors' archive."""

from __future__ import annotations

import json
import zipfile

import pytest

from captune.data import (
    LoadOptions,
    assign_splits,
    check_data,
    decode_image,
    load_records,
    write_dataset,
)
from captune.errors import DataError
from captune.records import ZipMember

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1234\n"


def annotation(number, **changes):
    """Return an annotation in the authors' form."""
    value = {
        "uniqueID": number,
        "frameID": f"{103 + number // 4}A_07010_121313",
        "primary_date": f"201502{10 + number:02d}",
        "secondary_date": f"201503{10 + number:02d}",
        "corrupted": 0,
        "processing_error": 0,
        "glacier_fringes": int(number % 3 == 0),
        "orbital_fringes": 0,
        "atmospheric_fringes": 2,
        "low_coherence": 0,
        "no_info": 0,
        "image_artifacts": 0,
        "label": ["Non_Deformation"] if number % 2 else ["Deformation", "Earthquake"],
        "activity_type": [] if number % 2 else ["Mogi"],
        "intensity_level": [] if number % 2 else ["Low"],
        "phase": "Rest",
        "confidence": 0.8,
        "segmentation_mask": [],
        "is_crowd": 0,
        "caption": f"Turbulent mixing effect number {number} can be detected.",
    }
    return value | changes


def zip_up(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def write_zips(folder, values, images, *, parts):
    texts = {f"annotations/{v['uniqueID']}.json": json.dumps(v) for v in values}
    zip_up(folder / "annotations.zip", texts)
    if parts == 1:
        zip_up(folder / "images.zip", {f"images/{n}.png": i for n, i in enumerate(images)})
        return
    for part in range(parts):
        chosen = {f"{n}.png": i for n, i in enumerate(images) if n % parts == part}
        zip_up(folder / f"images_set{part + 1}.zip", chosen)


def write_folders(folder, values, images, *, is_flat):
    for number, (value, image) in enumerate(zip(values, images, strict=True)):
        for name, content in (
            (f"images/{number}.png", image),
            (f"annotations/{value['uniqueID']}.json", json.dumps(value).encode()),
        ):
            path = folder / (name.split("/")[1] if is_flat else name)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)


def write_raw(folder, values, images):
    (folder / "annotations_hephaestus").mkdir()
    for value, image in zip(values, images, strict=True):
        name = f"{value['uniqueID']}.json"
        (folder / "annotations_hephaestus" / name).write_text(json.dumps(value))
        dates = f"{value['primary_date']}_{value['secondary_date']}"
        below = folder / value["frameID"] / "interferograms" / dates
        below.mkdir(parents=True)
        (below / f"{dates}.geo.diff.png").write_bytes(image)
        (below / f"{dates}.geo.cc.png").write_bytes(b"coherence")


@pytest.fixture
def write_set(png_bytes):
    """Return a function that writes 12 pairs of three frames in one of the layouts."""

    def write(folder, form="one", changes=None):
        folder.mkdir(parents=True, exist_ok=True)
        values = [annotation(n, **(changes or {}).get(n, {})) for n in range(12)]
        images = [png_bytes((20 * n, 10, 10)) for n in range(12)]
        if form in ("one", "four"):
            write_zips(folder, values, images, parts={"one": 1, "four": 4}[form])
        elif form == "raw":
            write_raw(folder, values, images)
        else:
            write_folders(folder, values, images, is_flat=form == "flat")
        return folder

    return write


@pytest.mark.parametrize("form", ["one", "four", "folders", "flat", "raw"])
def test_every_layout_gives_the_same_pairs_with_the_frame_as_group(tmp_path, write_set, form):
    data = load_records(write_set(tmp_path / form, form))
    assert data.format == "hephaestus"
    assert (data.skipped, data.notes) == ((), ())
    records = {record.image_id: record for record in data.records}
    assert len(records) == 12
    for number in range(12):
        record = records[str(number)]
        assert record.captions == (f"Turbulent mixing effect number {number} can be detected.",)
        assert record.group == f"{103 + number // 4}A_07010_121313"
        assert decode_image(record.image).getpixel((0, 0)) == (20 * number, 10, 10)


def test_zips_are_read_in_place_and_nothing_is_unpacked(tmp_path, write_set):
    folder = write_set(tmp_path / "set", "four")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    record = load_records(folder).records[5]
    assert record.image == ZipMember(folder / "images_set2.zip", "5.png")
    assert record.file_name == "5.png"
    decode_image(record.image)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_splits_by_group_never_cut_a_frame(tmp_path, write_set):
    records = load_records(write_set(tmp_path / "set")).records
    drawn = assign_splits(records, by="group")
    by_frame = {}
    for record in drawn:
        by_frame.setdefault(record.group, set()).add(record.split)
    assert sorted(map(len, by_frame.values())) == [1, 1, 1]
    assert {split for splits in by_frame.values() for split in splits} == {"train", "val", "test"}


def test_a_frame_in_two_given_splits_is_refused_by_group_and_found_by_the_check(
    tmp_path, write_set
):
    for split, ids in (("train", range(6)), ("test", range(6, 12))):
        (tmp_path / f"{split}.lst").write_text("".join(f"{n}.png\n" for n in ids))
    lists = {split: tmp_path / f"{split}.lst" for split in ("train", "test")}
    data = load_records(write_set(tmp_path / "set"), LoadOptions(split_files=lists))
    message = (
        r"1 of 3 groups are in several splits, the first: 104A_07010_121313, in train and test"
    )
    with pytest.raises(DataError, match=message):
        assign_splits(data.records, by="group")
    assert len(assign_splits(data.records, by="image")) == 12
    leaks = [leak for leak in check_data(data).leaks if leak.kind == "group"]
    assert [leak.splits for leak in leaks] == [("train", "test")]


def test_the_authors_folders_inside_a_zip_are_read(tmp_path, write_set):
    source = write_set(tmp_path / "raw", "raw")
    folder = tmp_path / "set"
    folder.mkdir()
    files = {str(p.relative_to(source)): p.read_bytes() for p in source.rglob("*") if p.is_file()}
    is_text = {name: name.endswith(".json") for name in files}
    zip_up(folder / "annotations.zip", {n: c for n, c in files.items() if is_text[n]})
    zip_up(folder / "images.zip", {n: c for n, c in files.items() if not is_text[n]})
    data = load_records(folder)
    assert (len(data.records), data.skipped) == (12, ())
    dates = "20150210_20150310"
    name = f"103A_07010_121313/interferograms/{dates}/{dates}.geo.diff.png"
    assert min(record.file_name for record in data.records) == name


@pytest.mark.parametrize("form", ["one", "folders", "raw"])
def test_an_annotation_without_an_image_and_an_image_without_one_are_listed(
    tmp_path, write_set, form, png_bytes
):
    changes = {3: {"uniqueID": 900, "primary_date": "19990101"}, 4: {"caption": ""}}
    folder = write_set(tmp_path / "set", form, changes)
    if form == "raw":
        # Its image is stored by its dates: without this file it has none.
        dates = "19990101_20150313"
        frame = folder / "103A_07010_121313" / "interferograms"
        (frame / dates / f"{dates}.geo.diff.png").unlink()
        (frame / "1_2").mkdir()
        (frame / "1_2" / "1_2.geo.diff.png").write_bytes(png_bytes())
    data = load_records(folder)
    assert len(data.records) == 10
    reasons = {image.image_id: image.reason for image in data.skipped}
    stray = {
        "one": "images.zip/images/3.png",
        "folders": "images/3.png",
        "raw": "103A_07010_121313/interferograms/1_2/1_2.geo.diff.png",
    }[form]
    assert reasons == {"900": "missing", "4": "no_caption", stray: "no_caption"}
    assert [note for note in data.notes if note.startswith("1 of 12 images missing: looked")]


def test_flags_and_lists_filter_the_images(tmp_path, write_set):
    folder = write_set(tmp_path / "set", changes={0: {"corrupted": 1}, 1: {"corrupted": 1}})

    def ids(**filters):
        wanted = {column: tuple(values) for column, values in filters.items()}
        data = load_records(folder, LoadOptions(filters=wanted))
        return [int(record.image_id) for record in data.records], data

    kept, data = ids(corrupted=["0"])
    assert kept == list(range(2, 12))
    assert data.notes == ("filters (corrupted: 0) skipped 2 images",)
    # Filtered images are not images without an annotation.
    assert data.skipped == ()
    assert ids(label=["Deformation"])[0] == [0, 2, 4, 6, 8, 10]
    assert ids(label=["Earthquake", "Non_Deformation"], corrupted=["0"])[0] == list(range(2, 12))
    assert ids(frameID=["104A_07010_121313"])[0] == [4, 5, 6, 7]
    assert ids(confidence=["0.80"], glacier_fringes=["1"])[0] == [0, 3, 6, 9]


def test_one_image_in_two_zips_is_used_when_equal_and_listed_when_not(
    tmp_path, write_set, png_bytes
):
    folder = write_set(tmp_path / "set")
    zip_up(folder / "images_set2.zip", {"3.png": png_bytes((60, 10, 10)), "4.png": b"other"})
    data = load_records(folder)
    assert len(data.records) == 11
    (image,) = data.skipped
    assert (image.image_id, image.reason) == ("4", "ambiguous")
    assert "images.zip/images/4.png and images_set2.zip/4.png" in image.detail


# --- broken sets ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["images.zip", "annotations.zip"])
def test_a_git_lfs_pointer_in_place_of_a_zip_is_reported(tmp_path, write_set, name):
    folder = write_set(tmp_path / "set")
    (folder / name).write_bytes(POINTER)
    with pytest.raises(DataError, match=rf"{name} is a Git LFS pointer, not the archive") as caught:
        load_records(folder)
    assert "git lfs pull" in caught.value.fix


def test_git_lfs_pointers_in_place_of_images_are_counted(tmp_path, write_set):
    folder = write_set(tmp_path / "set", "folders")
    for number in (2, 5):
        (folder / "images" / f"{number}.png").write_bytes(POINTER)
    findings = check_data(load_records(folder))
    assert {image.image_id: image.reason for image in findings.unreadable} == {
        "2": "git_lfs_pointer",
        "5": "git_lfs_pointer",
    }
    assert "2 git_lfs_pointer" in findings.problems[0].text


def test_a_truncated_zip_is_an_error_with_its_name_and_a_fix(tmp_path, write_set):
    folder = write_set(tmp_path / "set")
    whole = (folder / "images.zip").read_bytes()
    (folder / "images.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"images\.zip is truncated or damaged") as caught:
        load_records(folder)
    assert caught.value.fix.startswith("fetch it again")


def test_a_zip_in_a_zip_gives_the_advice_to_unpack_the_outer_one(tmp_path, write_set):
    folder = write_set(tmp_path / "set")
    inner = (folder / "images.zip").read_bytes()
    zip_up(folder / "images.zip", {"images_set1.zip": inner, "readme.txt": b""})
    with pytest.raises(DataError, match=r"holds no images but another archive: images_set1.zip"):
        load_records(folder)
    zip_up(folder / "images.zip", {"0.png": b""})
    zip_up(folder / "annotations.zip", {"annotations.zip": b""})
    with pytest.raises(DataError, match="holds no annotations but another archive"):
        load_records(folder)


def test_a_member_that_leads_out_of_the_zip_is_refused(tmp_path, write_set, png_bytes):
    folder = write_set(tmp_path / "set")
    with zipfile.ZipFile(folder / "images.zip", "a") as archive:
        archive.writestr("../../evil.png", png_bytes())
    with pytest.raises(DataError, match=r"'\.\./\.\./evil\.png', which leads out"):
        load_records(folder)


@pytest.mark.parametrize("form", ["one", "folders"])
def test_an_annotation_with_a_trailing_comma_is_named_with_its_line(tmp_path, write_set, form):
    folder = write_set(tmp_path / "set", form)
    text = json.dumps(annotation(12), indent=1).replace('"\n}', '",\n}')
    if form == "one":
        with zipfile.ZipFile(folder / "annotations.zip", "a") as archive:
            archive.writestr("annotations/12.json", text)
    else:
        (folder / "annotations" / "12.json").write_text(text)
    with pytest.raises(DataError, match=r"12\.json is not JSON: a comma before the") as caught:
        load_records(folder)
    assert caught.value.where.endswith(f"12.json, line {len(text.splitlines()) - 1}")


def test_captions_that_are_lists_or_texts_are_read(tmp_path, write_set):
    changes = {2: {"caption": ["One.", "Two."]}, 3: {"caption": {"raw": "Three."}}}
    data = load_records(write_set(tmp_path / "set", changes=changes))
    captions = {record.image_id: record.captions for record in data.records}
    assert (captions["2"], captions["3"]) == (("One.", "Two."), ("Three.",))
    assert captions["1"] == ("Turbulent mixing effect number 1 can be detected.",)


def test_all_annotations_in_one_file_are_read(tmp_path, write_set):
    folder = write_set(tmp_path / "set", "folders")
    paths = sorted((folder / "annotations").iterdir())
    values = [json.loads(path.read_text()) for path in paths]
    for path in paths:
        path.unlink()
    (folder / "annotations" / "all.json").write_text(json.dumps(values))
    assert len(load_records(folder).records) == 12


def test_annotations_of_another_data_set_in_a_zip_are_ignored(tmp_path, draw_image):
    for name in ("instances.json", "notes.md"):
        zip_up(tmp_path / "annotations.zip", {name: '{"images": []}'})
        draw_image(tmp_path / "images" / "a.png")
        (tmp_path / "d.csv").write_text("image,caption\na.png,A\n")
        assert load_records(tmp_path).format == "table"


def test_other_json_beside_the_annotations_is_ignored(tmp_path, write_set):
    folder = write_set(tmp_path / "set", "folders")
    (folder / "annotations" / "statistics.json").write_text('{"images": 12}')
    assert len(load_records(folder).records) == 12


def test_the_set_is_converted_from_its_zips(tmp_path, write_set):
    records = load_records(write_set(tmp_path / "set", "four")).records
    assert write_dataset(records, tmp_path / "out", format="imagefolder") == []
    again = load_records(tmp_path / "out")
    assert {(r.image_id, r.captions, r.group) for r in again.records} == {
        (r.image_id, r.captions, r.group) for r in records
    }
