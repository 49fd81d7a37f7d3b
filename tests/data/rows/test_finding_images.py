"""Names that nearly match a file, and names that lead out of the data set."""

from __future__ import annotations

import csv
import json
import unicodedata
from pathlib import Path

import pytest

from captune.data import LoadOptions, load_records
from captune.errors import DataError


def write_csv(path: Path, names: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "caption"))
        writer.writerows((name, f"Caption {number}") for number, name in enumerate(names))
    return path


def write_coco(path: Path, names: list[str]) -> Path:
    images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    captions = [{"image_id": number, "caption": "Text"} for number in range(len(names))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": captions}))
    return path


def files_of(data) -> list[Path]:
    return [record.image for record in data.records]


def skipped_of(data) -> list[tuple[str, str]]:
    return [(image.file, image.reason) for image in data.skipped]


@pytest.mark.parametrize(
    "prefix",
    [
        *("/home/me/data/images/", "C:\\Users\\me\\data\\images\\", "D:/x/images/", "old/"),
        *("file:///home/me/images/", "FILE:///C:/images/"),
    ],
)
def test_paths_of_another_machine_are_matched_by_their_end(tmp_path, draw_image, prefix):
    paths = [draw_image(tmp_path / "images" / f"{n}.png", (n, 0, 0)) for n in range(3)]
    write_csv(tmp_path / "d.csv", [f"{prefix}{n}.png" for n in range(3)])
    for options in (LoadOptions(), LoadOptions(image_root=tmp_path / "images")):
        data = load_records(tmp_path, options)
        assert files_of(data) == paths
        assert any("3 images found by the end of their path" in n for n in data.notes)


@pytest.mark.parametrize("form", ["'{}'", ' "images/{}"', "/home/me/images/{}"])
def test_names_in_quotes_or_with_url_escapes_are_found(tmp_path, draw_image, form):
    path = draw_image(tmp_path / "images" / "a b.png")
    write_csv(tmp_path / "d.csv", [form.format("a%20b.png" if form[0] == "/" else "a b.png")])
    data = load_records(tmp_path)
    assert files_of(data) == [path]
    assert any("without quotes or URL escapes" in note for note in data.notes)


def test_the_longest_tail_of_a_path_decides(tmp_path, draw_image):
    draw_image(tmp_path / "1.png", (9, 9, 9))
    deep = draw_image(tmp_path / "train" / "1.png")
    write_csv(tmp_path / "d.csv", ["/somewhere/else/train/1.png"])
    assert files_of(load_records(tmp_path)) == [deep]


def test_two_names_that_could_only_mean_one_file_are_both_listed(tmp_path, draw_image):
    draw_image(tmp_path / "1.png")
    draw_image(tmp_path / "2.png")
    write_csv(tmp_path / "d.csv", ["/a/train/1.png", "/a/val/1.png", "2.png"])
    data = load_records(tmp_path)
    assert files_of(data) == [tmp_path / "2.png"]
    assert skipped_of(data) == [("/a/train/1.png", "ambiguous"), ("/a/val/1.png", "ambiguous")]


def test_a_guess_never_takes_the_file_of_an_image_that_is_named_exactly(tmp_path, draw_image):
    draw_image(tmp_path / "1.png")
    write_csv(tmp_path / "d.csv", ["1.png", "/a/val/1.png"])
    data = load_records(tmp_path)
    assert files_of(data) == [tmp_path / "1.png"]
    assert skipped_of(data) == [("/a/val/1.png", "ambiguous")]


def test_a_coco_file_with_paths_of_another_machine_is_read_too(tmp_path, draw_image):
    path = draw_image(tmp_path / "train2017" / "1.png")
    write_coco(tmp_path / "annotations" / "captions_train2017.json", ["C:\\coco\\train2017\\1.png"])
    assert files_of(load_records(tmp_path)) == [path]


def test_names_without_an_extension_are_found(tmp_path, draw_image):
    paths = [draw_image(tmp_path / "images" / name) for name in ("a.b.png", "IC_1.png")]
    write_csv(tmp_path / "d.csv", ["a.b", "IC_1"])
    data = load_records(tmp_path)
    assert files_of(data) == paths
    assert any("found by their name without an extension" in note for note in data.notes)


@pytest.mark.parametrize(("on_disk", "in_file"), [("a.jpeg", "a.jpg"), ("a.JPG", "a.jpeg")])
def test_another_spelling_of_the_extension_is_found_and_reported(
    tmp_path, draw_image, on_disk, in_file
):
    path = draw_image(tmp_path / on_disk)
    draw_image(tmp_path / "a.png", (0, 0, 9))
    write_csv(tmp_path / "d.csv", [in_file])
    data = load_records(tmp_path)
    assert files_of(data) == [path]
    assert any("found by another spelling of their extension" in note for note in data.notes)


def test_files_similar_to_missing_ones_are_named_if_other_images_are_found(tmp_path, draw_image):
    for name in ("a.png", "000003.png", "b.bmp"):
        draw_image(tmp_path / name)
    write_csv(tmp_path / "d.csv", ["a.png", "3", "b.png", "unlike.png"])
    notes = load_records(tmp_path).notes
    assert (
        "files similar to the missing ones exist: 000003.png instead of 3, b.bmp instead of b.png"
        in notes
    )


def test_a_name_that_two_extensions_fit_is_ambiguous(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    draw_image(tmp_path / "a.bmp", (0, 0, 9))
    draw_image(tmp_path / "b.png")
    write_csv(tmp_path / "d.csv", ["a", "b"])
    data = load_records(tmp_path)
    assert files_of(data) == [tmp_path / "b.png"]
    assert skipped_of(data) == [("a", "ambiguous")]


@pytest.mark.parametrize("name", ["A.png", "a.PNG", "IMAGES/a.png"])
def test_another_letter_case_is_found_and_reported(tmp_path, draw_image, name):
    path = draw_image(tmp_path / "images" / "a.png")
    write_csv(tmp_path / "d.csv", [name])
    data = load_records(tmp_path)
    assert files_of(data) == [path]
    assert any("found by another letter case" in note for note in data.notes)


@pytest.mark.parametrize(("on_disk", "in_file"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_an_accent_may_be_one_character_or_two(tmp_path, draw_image, on_disk, in_file):
    path = draw_image(tmp_path / unicodedata.normalize(on_disk, "café.png"))
    write_csv(tmp_path / "d.csv", [unicodedata.normalize(in_file, "café.png")])
    data = load_records(tmp_path)
    assert files_of(data) == [path]
    assert any("found by another Unicode form of their name" in note for note in data.notes)


def test_two_files_that_differ_only_in_letter_case_are_distinguished_or_listed(
    tmp_path, draw_image
):
    draw_image(tmp_path / "a.png")
    if (tmp_path / "A.png").exists():
        pytest.skip("this disk ignores letter case")
    draw_image(tmp_path / "A.png", (0, 0, 9))
    write_csv(tmp_path / "d.csv", ["A.png", "a.PNG"])
    data = load_records(tmp_path)
    assert files_of(data) == [tmp_path / "A.png"]
    assert skipped_of(data) == [("a.PNG", "ambiguous")]


@pytest.mark.parametrize(
    ("there", "wanted"),
    [("a.png", "a.jpg"), ("000000000139.png", "139.jpg"), ("photo_12.png", "photo12.png")],
)
def test_a_missing_file_names_the_near_miss(tmp_path, draw_image, there, wanted):
    draw_image(tmp_path / there)
    write_csv(tmp_path / "d.csv", [wanted])
    with pytest.raises(DataError) as caught:
        load_records(tmp_path)
    assert f"{there} instead of {wanted}" in caught.value.fix


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_metadata_may_name_its_images_from_the_root(tmp_path, draw_image, suffix):
    path = draw_image(tmp_path / "train" / "a.png")
    text = (
        "file_name,text\ntrain/a.png,One\n"
        if suffix == "csv"
        else '{"file_name": "train/a.png", "text": "One"}\n'
    )
    (tmp_path / "train" / f"metadata.{suffix}").write_text(text)
    data = load_records(tmp_path)
    assert data.format == "imagefolder"
    assert files_of(data) == [path]
    assert data.skipped == ()


def test_two_lists_in_their_folders_may_name_their_images_from_the_root(tmp_path, draw_image):
    paths = []
    for split, folder in (("train", "Train"), ("test", "Test")):
        paths.append(draw_image(tmp_path / folder / "images" / f"{split}.png"))
        (tmp_path / folder / f"{split}.csv").write_text(
            f"image,caption\n{folder}/images/{split}.png,One\n"
        )
    data = load_records(tmp_path)
    assert sorted(files_of(data)) == sorted(paths)
    assert {record.split for record in data.records} == {"train", "test"}
    assert data.skipped == ()


# --- names that lead out ----------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path, draw_image) -> Path:
    return draw_image(tmp_path / "home" / "secret.png")


@pytest.fixture
def dataset(tmp_path, draw_image) -> Path:
    draw_image(tmp_path / "set" / "a.png", (1, 2, 3))
    return tmp_path / "set"


def write_jsonl(folder: Path, name: str) -> None:
    lines = [{"image": "a.png", "caption": "One"}, {"image": name, "caption": "Two"}]
    (folder / "d.jsonl").write_text("\n".join(map(json.dumps, lines)))


def write_dict_jsonl(folder: Path, name: str) -> None:
    lines = [{"image": "a.png", "text": "One"}, {"image": {"path": name}, "text": "Two"}]
    (folder / "d.jsonl").write_text("\n".join(map(json.dumps, lines)))


def write_metadata(folder: Path, name: str) -> None:
    lines = [{"file_name": "a.png", "text": "One"}, {"file_name": name, "text": "Two"}]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))


def write_karpathy(folder: Path, name: str) -> None:
    above, _, last = name.rpartition("/")
    sentences = [{"raw": "One"}]
    images = [
        {"filename": "a.png", "split": "train", "sentences": sentences},
        {"filepath": above, "filename": last, "split": "val", "sentences": sentences},
    ]
    (folder / "dataset_flickr8k.json").write_text(json.dumps({"images": images}))


def write_token_file(folder: Path, name: str) -> None:
    (folder / "Flickr8k.token.txt").write_text(f"a.png#0\tOne\n{name}#0\tTwo\n")


def write_parquet(folder: Path, name: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"image": ["a.png", name], "caption": ["One", "Two"]})
    pq.write_table(table, folder / "train.parquet")


LAYOUTS = {
    "csv": lambda folder, name: write_csv(folder / "d.csv", ["a.png", name]),
    "jsonl": write_jsonl,
    "jsonl with a path in an object": write_dict_jsonl,
    "imagefolder": write_metadata,
    "coco": lambda folder, name: write_coco(folder / "captions_train.json", ["a.png", name]),
    "karpathy": write_karpathy,
    "token file": write_token_file,
    "parquet": write_parquet,
}


@pytest.mark.parametrize("write", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("kind", ["absolute", "up"])
def test_a_name_that_leads_out_is_listed_not_followed(dataset, secret, write, kind):
    write(dataset, str(secret) if kind == "absolute" else "../home/secret.png")
    data = load_records(dataset)
    assert files_of(data) == [dataset / "a.png"]
    assert [image.reason for image in data.skipped] == ["outside"]
    (note,) = [note for note in data.notes if note.startswith("1 image outside")]
    assert "--image-root" in note
    assert "--allow-outside" in note
    allowed = load_records(dataset, LoadOptions(allow_outside=True))
    assert [path.resolve() for path in files_of(allowed)] == [dataset / "a.png", secret]


def test_the_error_for_names_that_lead_out_gives_the_flags_that_allow_them(dataset, secret):
    write_csv(dataset / "d.csv", [str(secret)])
    with pytest.raises(DataError, match=r"1 skipped \(1 outside\)") as caught:
        load_records(dataset)
    assert "--image-root" in caught.value.fix
    assert "--allow-outside" in caught.value.fix
    assert "data.allow_outside" in caught.value.fix


def test_absolute_names_inside_the_image_root_are_followed(dataset, secret):
    write_csv(dataset / "d.csv", ["secret.png", str(secret)])
    data = load_records(dataset, LoadOptions(image_root=secret.parent))
    assert files_of(data) == [secret, secret]


def test_a_name_with_dots_that_stays_inside_is_followed(dataset, draw_image):
    path = draw_image(dataset / "images" / "b.png")
    write_csv(dataset / "d.csv", ["lists/../images/b.png", str(path)])
    assert files_of(load_records(dataset)) == [path, path]


def test_a_linked_folder_of_images_is_followed_and_reported(dataset, secret):
    (dataset / "images").symlink_to(secret.parent)
    write_csv(dataset / "d.csv", ["a.png", "secret.png"])
    data = load_records(dataset)
    assert files_of(data) == [dataset / "a.png", dataset / "images" / "secret.png"]
    assert any("1 image read through links that lead out" in note for note in data.notes)


def test_links_in_a_circle_are_missing_images(dataset):
    (dataset / "circle.png").symlink_to(dataset / "circle.png")
    write_csv(dataset / "d.csv", ["a.png", "circle.png", "sub/circle.png"])
    data = load_records(dataset)
    assert files_of(data) == [dataset / "a.png"]
    assert [image.file for image in data.skipped] == ["circle.png", "sub/circle.png"]


def test_a_name_with_dots_after_a_link_is_not_followed(dataset, secret, draw_image):
    draw_image(secret.parent / "inner" / "b.png")
    (dataset / "images").symlink_to(secret.parent / "inner")
    # The system would resolve `..` from the target of the link, into home/.
    write_csv(dataset / "d.csv", ["a.png", "images/../secret.png"])
    data = load_records(dataset)
    assert files_of(data) == [dataset / "a.png"]
    assert skipped_of(data) == [("images/../secret.png", "missing")]


def test_a_network_share_is_never_accessed(dataset):
    write_csv(dataset / "d.csv", ["a.png", "//host/share/x.png", "\\\\host\\share\\y.png"])
    assert [image.reason for image in load_records(dataset).skipped] == ["missing", "missing"]
