"""WebDataset shards: one tar, many, compressed, patterns, and hostile members."""

from __future__ import annotations

import io
import json
import tarfile

import pytest

from captune.data import LoadOptions, decode_image, detect_format, load_records, stream_shard
from captune.data.archives.shards import expand_shards
from captune.data.archives.tar_index import iter_tar_stream
from captune.errors import DataError
from captune.records import TarMember


def write_shard(path, members, mode="w"):
    """Return a tar of (name, content) pairs, or of TarInfos."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            name, content = member
            data = content if isinstance(content, bytes) else content.encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def samples(png_bytes):
    """Return `n` samples from `start`, with one image and one text each."""

    def make(number, start=0):
        return [
            member
            for n in range(start, start + number)
            for member in (
                (f"{n:06d}.png", png_bytes((n, 0, 0))),
                (f"{n:06d}.txt", f"Caption {n}"),
            )
        ]

    return make


def captions_of(data):
    return {record.image_id: record.captions for record in data.records}


def reasons_of(data):
    return {image.image_id: image.reason for image in data.skipped}


def test_a_tar_is_read_in_place(tmp_path, samples, png_bytes):
    path = write_shard(tmp_path / "data.tar", samples(3))
    data = load_records(path)
    assert data.format == "webdataset"
    assert captions_of(data) == {f"{n:06d}": (f"Caption {n}",) for n in range(3)}
    record = data.records[2]
    assert isinstance(record.image, TarMember)
    assert decode_image(record.image).getpixel((0, 0)) == (2, 0, 0)
    assert record.file_name == "data.tar/000002.png"
    assert [p.name for p in tmp_path.iterdir()] == ["data.tar"]


def test_a_folder_of_shards_is_read_with_its_splits(tmp_path, samples):
    write_shard(tmp_path / "train-000.tar", samples(2))
    write_shard(tmp_path / "train-001.tar", samples(2, 2))
    write_shard(tmp_path / "validation-000.tar", samples(1, 4))
    write_shard(tmp_path / "test" / "00000.tar", samples(1, 5))
    data = load_records(tmp_path)
    splits = {record.image_id: record.split for record in data.records}
    assert list(splits.values()) == ["train"] * 4 + ["val", "test"]
    assert list(splits) == [f"{n:06d}" for n in range(6)]


def test_braces_name_shards_as_a_shell_would(tmp_path, samples):
    for number in range(3):
        write_shard(tmp_path / f"s-{number:03d}.tar", samples(2, 2 * number))
    data = load_records(f"{tmp_path}/s-{{000..001}}.tar")
    assert sorted(captions_of(data)) == [f"{n:06d}" for n in range(4)]
    assert len(load_records(f"{tmp_path}/s-*.tar").records) == 6
    with pytest.raises(DataError, match=r"2 of the 5 shards of .* missing, .*s-003\.tar"):
        load_records(f"{tmp_path}/s-{{000..004}}.tar")
    with pytest.raises(DataError, match="no file matches"):
        load_records(f"{tmp_path}/t-*.tar")


@pytest.mark.slow
def test_patterns_are_expanded_in_their_order(tmp_path):
    names = ["a-8.tar", "a-9.tar", "a-10.tar", "b-8.tar", "b-9.tar", "b-10.tar"]
    for name in names:
        (tmp_path / name).touch()
    found = expand_shards(tmp_path / "{a,b}-{8..10}.tar")
    assert [path.name for path in found] == names
    with pytest.raises(DataError, match="is not a range of shards"):
        expand_shards(tmp_path / "a-{9..8}.tar")
    with pytest.raises(DataError, match="names 1000000000000 shards"):
        expand_shards(tmp_path / "a-{0..999999}{0..999999}.tar")


@pytest.mark.parametrize(
    ("suffix", "mode"), [(".tar.gz", "w:gz"), (".tgz", "w:gz"), (".tar.xz", "w:xz")]
)
def test_a_compressed_shard_is_read_and_its_images_kept(
    tmp_path, samples, suffix, mode, monkeypatch
):
    monkeypatch.setenv("CAPTUNE_CACHE", str(tmp_path / "cache"))
    plain = load_records(write_shard(tmp_path / "plain.tar", samples(4)))
    packed = load_records(
        write_shard(tmp_path / f"d{suffix}", samples(4), mode), LoadOptions(memory_limit=150)
    )
    assert captions_of(packed) == captions_of(plain)
    assert [decode_image(r.image).tobytes() for r in packed.records] == [
        decode_image(r.image).tobytes() for r in plain.records
    ]
    assert any("images of compressed tars stored as files" in note for note in packed.notes)


def test_captions_come_from_text_else_from_json_and_columns_from_json(tmp_path, png_bytes):
    about = {"caption": "From the web", "url": "http://x/1.jpg", "nsfw": 0, "status": "success"}
    path = write_shard(
        tmp_path / "d.tar",
        [
            ("a.json", json.dumps(about)),
            ("a.png", png_bytes((1, 1, 1))),
            ("a.txt", "Written\nTwice"),
            ("b.json", json.dumps(about | {"nsfw": 1})),
            ("b.png", png_bytes((2, 2, 2))),
            ("c.caption", "Ü"),
            ("c.png", png_bytes((3, 3, 3))),
            ("d.png", png_bytes((4, 4, 4))),
            ("d.json", json.dumps({"captions": [{"raw": "One"}, "Two"]})),
        ],
    )
    data = load_records(path)
    assert captions_of(data) == {
        "a": ("Written", "Twice"),
        "b": ("From the web",),
        "c": ("Ü",),
        "d": ("One", "Two"),
    }
    clean = load_records(path, LoadOptions(filters={"nsfw": ("0",)}))
    assert list(captions_of(clean)) == ["a"]


def test_a_named_key_of_the_json_takes_precedence_over_the_text(tmp_path, png_bytes):
    about = json.dumps({"caption": "From JSON", "Alt": ["Named", "Twice"]})
    members = [("a.png", png_bytes()), ("a.txt", "From text"), ("a.json", about)]
    for number, order in enumerate((members, members[::-1])):
        path = write_shard(tmp_path / f"{number}.tar", order)
        data = load_records(path, LoadOptions(caption_column="alt"))
        assert [record.captions for record in data.records] == [("Named", "Twice")]
    with pytest.raises(DataError, match="no JSON file in the shards has the key 'alt2'") as caught:
        load_records(path, LoadOptions(caption_column="alt2"))
    assert "caption, Alt" in caught.value.what


def test_a_key_ends_at_the_first_dot_after_the_last_slash(tmp_path, png_bytes):
    path = write_shard(
        tmp_path / "d.tar",
        [
            ("v1.0/a.left.png", png_bytes((9, 9, 9))),
            ("v1.0/a.png", png_bytes((1, 2, 3))),
            ("v1.0/a.txt", "A"),
            ("v1.0/b.txt", "B"),
            ("v1.0/b.PNG", png_bytes((4, 5, 6))),
        ],
    )
    data = load_records(path)
    assert captions_of(data) == {"v1.0/a": ("A",), "v1.0/b": ("B",)}
    colours = [decode_image(record.image).getpixel((0, 0)) for record in data.records]
    assert colours == [(1, 2, 3), (4, 5, 6)]


@pytest.mark.parametrize("name", ["a.txt", "a.json"])
def test_a_text_in_an_encoding_of_another_script_is_refused(tmp_path, png_bytes, name):
    caption = "两只狗在草地上奔跑"
    text = caption if name == "a.txt" else f'{{"url": "x",\n"caption": "{caption}"}}'
    path = tmp_path / "0.tar"
    write_shard(path, [("a.png", png_bytes()), (name, text.encode("gb18030"))])
    with pytest.raises(DataError, match="is neither UTF-8 nor Windows-1252") as caught:
        load_records(path)
    assert caught.value.where == f"{path}:{name}, line {1 if name == 'a.txt' else 2}"


def test_files_of_one_key_that_are_not_adjacent_are_one_sample(tmp_path, png_bytes):
    images = [(f"{n}.png", png_bytes((n, 0, 0))) for n in range(3)]
    texts = [(f"{n}.txt", f"C{n}") for n in range(3)]
    data = load_records(write_shard(tmp_path / "d.tar", [*images, *texts]))
    assert captions_of(data) == {str(n): (f"C{n}",) for n in range(3)}


def test_keys_that_restart_in_each_shard_are_different_images(tmp_path, samples, png_bytes):
    for number in range(4):
        write_shard(
            tmp_path / f"s{number}.tar",
            [("0.png", png_bytes((number, 0, 0))), ("0.txt", f"Of shard {number}")],
        )
    data = load_records(tmp_path)
    assert captions_of(data) == {
        "0": ("Of shard 0",),
        "s1/0": ("Of shard 1",),
        "s2/0": ("Of shard 2",),
        "s3/0": ("Of shard 3",),
    }
    assert [decode_image(r.image).getpixel((0, 0))[0] for r in data.records] == [0, 1, 2, 3]
    assert any("3 keys found in several shards" in note for note in data.notes)


def test_shards_with_one_name_in_several_folders_keep_their_captions(tmp_path, png_bytes):
    for number in range(6):
        write_shard(
            tmp_path / f"v1.{number}" / "0.tar",
            [("0.png", png_bytes((number, 0, 0))), ("0.txt", f"Of folder {number}")],
        )
    data = load_records(f"{tmp_path}/v1.{{0..5}}/0.tar")
    assert captions_of(data) == {"0": ("Of folder 0",)} | {
        f"v1.{n}/0/0": (f"Of folder {n}",) for n in range(1, 6)
    }
    assert data.records[3].file_name == "v1.3/0.tar/0.png"


def test_hostile_members_are_listed_and_never_extracted(tmp_path, samples, png_bytes):
    inside = tmp_path / "inside"
    device = tarfile.TarInfo("000000.jpg")
    device.type, device.devmajor = tarfile.CHRTYPE, 1
    link = tarfile.TarInfo("000009.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    hostile = [
        ("/tmp/captune-evil.png", png_bytes()),
        ("../evil.png", png_bytes()),
        ("../evil.txt", "Evil"),
        device,
        link,
        ("000001.png", b"a second one"),
        ("000001.txt", "A second one"),
    ]
    data = load_records(write_shard(inside / "d.tar", [*samples(2), *hostile]))
    assert captions_of(data) == {"000000": ("Caption 0",), "000001": ("Caption 1",)}
    assert decode_image(data.records[1].image).getpixel((0, 0)) == (1, 0, 0)
    assert {name.removeprefix("d.tar/"): why for name, why in reasons_of(data).items()} == {
        "/tmp/captune-evil.png": "unsafe_name",
        "../evil.png": "unsafe_name",
        "../evil.txt": "unsafe_name",
        "000000.jpg": "not_a_file",
        "000009.png": "not_a_file",
        "000001.png": "duplicate_key",
        "000001.txt": "duplicate_key",
    }
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["d.tar", "inside"]


def test_the_files_that_macos_adds_are_not_samples(tmp_path, samples):
    members = samples(3)
    added = [
        pair
        for name, content in members
        for pair in ((f"._{name}", b"\0\5\x16\7"), (name, content))
    ]
    for name in ("s.tar", "._s.tar"):
        write_shard(tmp_path / name, added)
    data = load_records(tmp_path)
    assert list(captions_of(data)) == ["000000", "000001", "000002"]
    assert data.skipped == ()
    assert [image.error for image in stream_shard(tmp_path / "s.tar")] == [None] * 3
    # As a stream, a sample ends where the next key begins.
    with (tmp_path / "s.tar").open("rb") as file:
        names = [entry.name for entry in iter_tar_stream(file, name="s.tar")]
    assert names == [name for name, _ in members]


def test_incomplete_samples_are_counted_and_listed(tmp_path, samples, png_bytes):
    more = [("lone.png", png_bytes()), ("words.txt", "No image"), ("stats.json", '{"count": 3}')]
    data = load_records(write_shard(tmp_path / "d.tar", [*samples(2), *more]))
    assert len(data.records) == 2
    assert reasons_of(data) == {"lone": "no_caption", "words": "missing"}
    assert "1 of 4 images missing: a caption without an image" in data.notes


def test_a_truncated_shard_loses_only_its_last_sample_and_is_reported(tmp_path, samples):
    path = write_shard(tmp_path / "d.tar", samples(4))
    with tarfile.open(path) as archive:
        last = archive.getmember("000003.png").offset_data
    path.write_bytes(path.read_bytes()[: last + 10])
    data = load_records(path)
    assert list(captions_of(data)) == ["000000", "000001", "000002"]
    assert reasons_of(data) == {"d.tar/000003.png": "truncated"}


def test_a_limit_stops_before_later_shards(tmp_path, samples):
    write_shard(tmp_path / "s0.tar", samples(3))
    write_shard(tmp_path / "s1.tar", samples(3, 3))
    (tmp_path / "s2.tar").write_bytes(b"never read")
    data = load_records(tmp_path, LoadOptions(limit=4))
    assert list(captions_of(data)) == ["000000", "000001", "000002", "000003"]


def test_broken_json_in_a_shard_is_named_with_its_line(tmp_path, png_bytes):
    text = '{\n"caption": "A",\n}'
    path = write_shard(tmp_path / "d.tar", [("a.png", png_bytes()), ("a.json", text)])
    with pytest.raises(DataError, match=r"d\.tar:a\.json is not JSON: a comma before") as caught:
        load_records(path)
    assert caught.value.where.endswith("a.json, line 2")


def test_shards_take_precedence_over_the_parquet_of_img2dataset(tmp_path, samples):
    import pyarrow
    import pyarrow.parquet

    write_shard(tmp_path / "00000.tar", samples(2))
    table = pyarrow.table({"url": ["http://x/1"], "caption": ["A"], "key": ["000000"]})
    pyarrow.parquet.write_table(table, tmp_path / "00000.parquet")
    (tmp_path / "00000_stats.json").write_text('{"count": 2}')
    assert detect_format(tmp_path) == "webdataset"


def test_a_tar_without_samples_is_not_read_as_the_data_set(tmp_path, draw_image, png_bytes):
    write_shard(tmp_path / "backup.tar", [("a.png", png_bytes()), ("notes.md", "x")])
    draw_image(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("A")
    assert detect_format(tmp_path) == "sidecar"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", r"d\.tar is a Git LFS pointer"),
        (b"<html>" * 300, "is not a tar archive, or is damaged"),
        (b"", r"d\.tar is (not a tar archive, or is damaged|empty: 0 bytes)"),
    ],
)
def test_a_file_that_is_not_a_tar_is_reported(tmp_path, content, message):
    (tmp_path / "d.tar").write_bytes(content)
    for place in (tmp_path, tmp_path / "d.tar"):
        with pytest.raises(DataError, match=message):
            load_records(place)


def test_a_shard_that_cannot_be_opened_is_not_called_damaged(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*gone\.tar: No such file"):
        next(stream_shard(tmp_path / "gone.tar"))
