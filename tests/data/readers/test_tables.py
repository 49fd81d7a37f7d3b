"""CSV, TSV and the two Flickr layouts."""

from __future__ import annotations

import csv

import pytest

from captune.data import LoadOptions, load_records
from captune.errors import DataError


def captions_of(data):
    return {record.image_id: record.captions for record in data.records}


def test_a_csv_keeps_commas_quotes_and_all_captions_of_an_image(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    draw_image(tmp_path / "b.png")
    (tmp_path / "captions.csv").write_text(
        'image,caption\na.png,"A dog, a cat and ""Rex"""\nb.png,One\na.png,Two\n'
    )
    data = load_records(tmp_path)
    assert data.format == "table"
    assert captions_of(data) == {"a.png": ('A dog, a cat and "Rex"', "Two"), "b.png": ("One",)}
    assert data.records[0].image == tmp_path / "a.png"


def test_a_quote_that_is_never_closed_is_named_where_it_opens(tmp_path):
    rows = "\n".join(f"b.png,Row {number}" for number in range(9))
    (tmp_path / "c.csv").write_text(f'image,caption\na.png,One\na.png,"Two\n{rows}\n')
    with pytest.raises(DataError, match=r"broken CSV(?s:.*)c.csv, lines 3 to 12"):
        load_records(tmp_path)


def test_two_columns_with_one_name_are_an_error(tmp_path):
    (tmp_path / "c.csv").write_text("image,caption,caption\na.png,One,Uno\n")
    with pytest.raises(DataError, match="2 columns are called 'caption'"):
        load_records(tmp_path)


def test_split_group_and_id_are_found_in_any_letter_case(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    draw_image(tmp_path / "b.png")
    (tmp_path / "c.csv").write_text(
        "Image,Caption,Split,Group,Image ID\na.png,One,train,g,7\nb.png,Two,test,,8\n"
    )
    assert [(r.image_id, r.split, r.group) for r in load_records(tmp_path).records] == [
        ("7", "train", "g"),
        ("8", "test", None),
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.csv", b"id,url,caption\n1,http://x/a.jpg,One\n"),
        ("d.tsv", b"id\turl\tcaption\n1\thttp://x/a.jpg\tOne\n"),
        ("d.jsonl", b'{"id": 1, "url": "http://x/a.jpg", "caption": "One"}\n'),
    ],
)
@pytest.mark.parametrize("is_folder", [True, False])
def test_unknown_columns_are_listed(tmp_path, name, content, is_folder):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"no known data set format.*\(columns: id, url, caption\)"):
        load_records(tmp_path if is_folder else tmp_path / name)


@pytest.mark.parametrize(
    ("content", "message"),
    [('{"image": "a.png", "caption": "B\xe4r"}', "is not UTF-8"), ("{'image': 1}", "is not JSON")],
)
def test_a_file_of_records_that_cannot_be_read_is_named(tmp_path, content, message):
    (tmp_path / "d.jsonl").write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=f"(?s){message}.*d.jsonl|d.jsonl.*{message}"):
        load_records(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.csv", b"\xef\xbb\xbfimage_path,caption\r\na.png,Caf\xc3\xa9\r\n"),
        ("c.tsv", "image\tcaption\na.png\tCafé\n".encode()),
        ("c.csv", "File Name;Text\na.png;Café\n".encode()),
        ("c.csv", "image,caption\na.png,Café\n".encode("utf-16")),
        ("f.csv", "image,caption\na.png,Café\n".encode("utf-32")),
        ("c.csv", "image,caption\na.png,Café\n".encode("cp1252")),
    ],
)
def test_tables_of_every_office_program_are_read(tmp_path, draw_image, name, content):
    draw_image(tmp_path / "a.png")
    (tmp_path / name).write_bytes(content)
    data = load_records(tmp_path / name)
    assert captions_of(data) == {"a.png": ("Café",)}
    assert any("Windows-1252" in note for note in data.notes) == (b"\xe9" in content[-3:])


@pytest.mark.parametrize(
    ("encoding", "caption"),
    [
        ("gb18030", "两只狗在草地上奔跑"),
        ("big5", "兩隻狗在草地上奔跑"),
        ("shift_jis", "二匹の犬が草の上を走る"),
        ("cp949", "개 두 마리가 풀밭을 달린다"),
        ("cp1251", "две собаки бегут по траве"),
        ("cp874", "สุนัขสองตัววิ่งบนหญ้า"),
        ("cp1253", "δύο σκυλιά τρέχουν στο γρασίδι"),
    ],
)
@pytest.mark.parametrize("name", ["c.csv", "sub/a.txt"])
def test_text_in_an_encoding_of_another_script_is_refused_and_not_read_as_accents(
    tmp_path, draw_image, *, name, encoding, caption
):
    draw_image(tmp_path / "sub" / "a.png")
    header = "image,caption\nsub/a.png," if name.endswith(".csv") else ""
    (tmp_path / name).write_bytes(f"{header}{caption}\n".encode(encoding))
    with pytest.raises(DataError, match="is neither UTF-8 nor Windows-1252") as caught:
        load_records(tmp_path)
    assert caught.value.where == f"{tmp_path / name}, line {1 if name.endswith('.txt') else 2}"
    assert "iconv -f GB18030" in caught.value.fix


def test_a_line_that_is_not_utf_8_among_others_that_are_is_named(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    rows = "image,caption\n" + "a.png,ein Bär frißt Äpfel\n" * 3
    (tmp_path / "c.csv").write_bytes(rows.encode() + b"a.png,ein B\xe4r\n")
    with pytest.raises(DataError, match="is neither UTF-8") as caught:
        load_records(tmp_path)
    assert caught.value.where == f"{tmp_path / 'c.csv'}, line 5"


def test_accents_of_western_languages_are_read(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    captions = (
        "une journée ensoleillée à la plage, où des élèves créent “un château”",
        "drei Mädchen grüßen fröhlich über die Straße",
        "un niño pequeño señala la montaña",
    )
    rows = "".join(f'a.png,"{caption}"\n' for caption in captions)
    (tmp_path / "c.csv").write_bytes(f"image,caption\n{rows}".encode("cp1252"))
    assert captions_of(load_records(tmp_path)) == {"a.png": captions}


def test_train_val_and_test_csv_are_splits(tmp_path, draw_image):
    for number, name in enumerate(("train", "val", "test")):
        draw_image(tmp_path / "images" / f"{number}.png")
        (tmp_path / f"{name}.csv").write_text(f"image_path,caption\n{number}.png,x {name}\n")
    data = load_records(tmp_path)
    assert {record.file_name: record.split for record in data.records} == {
        "0.png": "train",
        "1.png": "val",
        "2.png": "test",
    }


def test_an_image_in_two_split_files_stays_in_train_and_is_named(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    draw_image(tmp_path / "b.png")
    (tmp_path / "test.csv").write_text("image,caption\na.png,one\nb.png,x\n")
    (tmp_path / "train.csv").write_text("image,caption\na.png,two\n")
    data = load_records(tmp_path)
    assert data.in_two_splits == ("a.png",)
    assert [(r.image_id, r.split) for r in data.records] == [("a.png", "train"), ("b.png", "test")]


def test_a_split_and_a_group_column_are_read(tmp_path, draw_image):
    for name in "abc":
        draw_image(tmp_path / f"{name}.png")
    (tmp_path / "d.csv").write_text(
        "image,caption,split,group\na.png,x,train,g1\nb.png,y,validation,\nc.png,z,test,g2\n"
    )
    data = load_records(tmp_path / "d.csv")
    assert [(r.split, r.group) for r in data.records] == [
        ("train", "g1"),
        ("val", None),
        ("test", "g2"),
    ]


def test_named_columns_are_used_whatever_they_are_called(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    (tmp_path / "d.csv").write_text("scan,report,text\na.png,A lung,no\n")
    options = LoadOptions(image_column="scan", caption_column="report")
    assert captions_of(load_records(tmp_path / "d.csv", options)) == {"a.png": ("A lung",)}
    assert captions_of(load_records(tmp_path, options)) == {"a.png": ("A lung",)}


def test_numbered_caption_columns_are_all_captions(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    (tmp_path / "d.csv").write_text("image,caption2,caption1,model3\na.png,Two,One,x\n")
    assert captions_of(load_records(tmp_path)) == {"a.png": ("One", "Two")}


def test_a_missing_column_is_an_error_that_lists_the_columns(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("scan,text\na.png,x\n")
    with pytest.raises(DataError, match="no image column; the columns are: scan, text") as caught:
        load_records(path, LoadOptions(format="table"))
    assert caught.value.fix == "name it: data.image_column, or --image-column"
    with pytest.raises(DataError, match="no column 'report' for the caption"):
        load_records(
            path, LoadOptions(format="table", image_column="scan", caption_column="report")
        )


def test_an_unquoted_comma_is_an_error_with_its_line(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    (tmp_path / "d.csv").write_text("image,caption\na.png,A dog\na.png,A dog, a cat\n")
    with pytest.raises(DataError, match="3 cells under 2 columns") as caught:
        load_records(tmp_path / "d.csv")
    assert caught.value.where.endswith("line 3")


def test_an_open_quote_does_not_swallow_the_rest_of_the_file(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    (tmp_path / "d.csv").write_text('image,caption\na.png,"A dog\na.png,A cat\n')
    with pytest.raises(DataError, match="broken CSV"):
        load_records(tmp_path / "d.csv")


def test_missing_remote_and_captionless_images_are_listed_not_fatal(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    draw_image(tmp_path / "b.png")
    (tmp_path / "d.csv").write_text(
        "image,caption\na.png,x\na.png, \nb.png,\ngone.png,y\nhttps://e.org/c.jpg,z\n"
        # Not the file in the folder.
        "HTTPS://e.org/a.png,z\ns3://bucket/b.png,z\n"
    )
    data = load_records(tmp_path / "d.csv")
    assert [record.image_id for record in data.records] == ["a.png"]
    assert [(image.file, image.reason) for image in data.skipped] == [
        ("b.png", "no_caption"),
        ("gone.png", "missing"),
        ("https://e.org/c.jpg", "remote"),
        ("HTTPS://e.org/a.png", "remote"),
        ("s3://bucket/b.png", "remote"),
    ]
    assert data.empty_captions == ("a.png", "b.png")


def test_absolute_paths_windows_paths_and_an_image_root_are_found(tmp_path, draw_image):
    elsewhere = tmp_path / "elsewhere"
    draw_image(elsewhere / "sub" / "a.png")
    draw_image(elsewhere / "b.png")
    path = tmp_path / "d.csv"
    path.write_text(f"image,caption\nsub\\a.png,x\n{elsewhere / 'b.png'},y\n")
    data = load_records(path, LoadOptions(image_root=elsewhere))
    assert [record.image for record in data.records] == [
        elsewhere / "sub" / "a.png",
        elsewhere / "b.png",
    ]
    with pytest.raises(DataError, match="no such image folder"):
        load_records(path, LoadOptions(image_root=tmp_path / "none"))


def test_a_limit_counts_images_not_rows(tmp_path, draw_image):
    for number in range(4):
        draw_image(tmp_path / f"{number}.png")
    rows = [f"{number}.png,caption {turn}" for number in range(4) for turn in range(3)]
    (tmp_path / "d.csv").write_text("image,caption\n" + "\n".join(rows))
    data = load_records(tmp_path / "d.csv", LoadOptions(limit=2))
    assert {k: len(v) for k, v in captions_of(data).items()} == {"0.png": 3, "1.png": 3}


# --- Flickr -----------------------------------------------------------------------------------


@pytest.fixture
def kaggle(tmp_path, draw_image):
    for name in "abcd":
        draw_image(tmp_path / "Images" / f"{name}.jpg")
    with (tmp_path / "captions.txt").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "caption"))
        writer.writerows((f"{name}.jpg", f"A thing, {name} {n}") for name in "abcd" for n in "12")
    return tmp_path


def test_the_kaggle_copy_of_flickr8k_is_read(kaggle):
    data = load_records(kaggle)
    assert data.format == "flickr"
    assert captions_of(data)["b.jpg"] == ("A thing, b 1", "A thing, b 2")
    assert data.records[0].image == kaggle / "Images" / "a.jpg"
    assert data.count_splits() == {"none": 4}
    assert captions_of(load_records(kaggle / "captions.txt")) == captions_of(data)


def test_the_standard_lists_are_the_splits_and_other_images_are_reported_as_skipped(kaggle):
    (kaggle / "Flickr_8k.trainImages.txt").write_text("a.jpg\nb.jpg\n")
    (kaggle / "Flickr_8k.devImages.txt").write_text("c.jpg\n")
    data = load_records(kaggle)
    assert [record.split for record in data.records] == ["train", "train", "val", None]
    assert "1 image skipped: in no split list" in data.notes


def test_given_lists_replace_the_standard_ones(kaggle):
    (kaggle / "Flickr_8k.trainImages.txt").write_text("a.jpg\nb.jpg\n")
    (kaggle / "mine.txt").write_text("d\n")
    data = load_records(kaggle, LoadOptions(split_files={"test": "mine.txt"}))
    assert [record.split for record in data.records] == [None, None, None, "test"]


def test_an_image_in_two_lists_is_kept_in_the_first_and_named(kaggle):
    (kaggle / "Flickr_8k.trainImages.txt").write_text("a.jpg\nb.jpg\n")
    (kaggle / "Flickr_8k.testImages.txt").write_text("b.jpg\nc.jpg\n")
    data = load_records(kaggle)
    assert data.in_two_splits == ("b.jpg",)
    assert [record.split for record in data.records] == ["train", "train", "test", None]


def test_a_list_of_other_images_is_an_error_that_shows_both_names(kaggle):
    (kaggle / "mine.txt").write_text("x.png\n")
    with pytest.raises(DataError, match=r"no image of the .* list .1 image.* 'x.png', .* 'a.jpg'"):
        load_records(kaggle, LoadOptions(split_files={"test": kaggle / "mine.txt"}))


def test_the_token_file_keeps_hashes_in_captions_and_lists_the_id_without_image(
    tmp_path, draw_image
):
    draw_image(tmp_path / "Flicker8k_Dataset" / "a.jpg")
    text = tmp_path / "Flickr8k_text"
    text.mkdir()
    (text / "Flickr8k.token.txt").write_text(
        'a.jpg#0\tPlayer #9 runs , number #1 falls .\na.jpg#1\tTwo " quotes\n'
        "gone.jpg.1#0\tNo image .\n"
    )
    (text / "Flickr_8k.trainImages.txt").write_text("a.jpg\n")
    data = load_records(tmp_path)
    assert data.format == "flickr"
    assert captions_of(data) == {"a.jpg": ("Player #9 runs , number #1 falls .", 'Two " quotes')}
    assert [(image.file, image.reason) for image in data.skipped] == [("gone.jpg.1", "missing")]


def test_a_broken_token_line_is_named(tmp_path, draw_image):
    draw_image(tmp_path / "Images" / "a.jpg")
    (tmp_path / "f.token.txt").write_text("a.jpg#0\tfine\nbroken line\n")
    with pytest.raises(DataError, match="not `image#number<TAB>caption`: 'broken line'") as caught:
        load_records(tmp_path)
    assert caught.value.where.endswith("line 2")


def test_flickr30k_with_its_bars_and_its_row_without_a_bar_is_read(tmp_path, draw_image):
    draw_image(tmp_path / "flickr30k_images" / "a.jpg")
    (tmp_path / "results.csv").write_text(
        "image_name| comment_number| comment\na.jpg| 0| Two dogs | play .\na.jpg| 1| A dog .\n"
        "a.jpg| 4   A dog runs .\n".replace(" dogs | play", " dogs play")
    )
    data = load_records(tmp_path)
    assert captions_of(data) == {"a.jpg": ("Two dogs play .", "A dog .")}
    assert data.empty_captions == ("a.jpg",)


@pytest.mark.slow
@pytest.mark.real_data
def test_the_real_flickr8k_has_six_thousand_and_one_thousand_images(real_data):
    data = load_records(real_data / "flickr8k")
    assert data.count_splits() == {"train": 6000, "val": 1000}
    assert data.skipped == ()
    assert {len(record.captions) for record in data.records} == {5}
    commas = sum("," in caption for record in data.records for caption in record.captions)
    # Split at the first comma, there would be none.
    assert commas > 2000


def test_a_cell_larger_than_pythons_own_limit_is_read(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    outline = "1 " * 150_000
    (tmp_path / "c.csv").write_text(f"image,caption,outline\na.png,a dog,{outline}\n")
    (record,) = load_records(tmp_path).records
    assert record.captions == ("a dog",)


def test_a_quote_that_swallows_a_large_file_is_an_error_that_says_so(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    rows = "a.png,a dog that runs\n" * 800_000
    (tmp_path / "c.csv").write_text(f'image,caption\na.png,"a dog\n{rows}')
    with pytest.raises(DataError, match="a cell of more than 16,000,000 characters") as caught:
        load_records(tmp_path)
    assert f"{tmp_path / 'c.csv'}, lines 2 to " in caught.value.where
    assert caught.value.fix.startswith("close the quote")
