"""Every kind of input becomes a stream of images, each once; what cannot be read is listed."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captune.bulk import Item, SourceOptions, find_items
from captune.bulk.formats.parquet_file import ParquetFile
from captune.bulk.items import look_at
from captune.errors import DataError, OutputError
from captune.inference import ImageFile, SkippedLink, UnreadableImage, UrlRules
from captune.records import TarMember
from support import bombs
from support.bulk.hostile_images import odd_names, photo, write_photos
from support.bulk.library import caption

PNG = bombs.encode(photo(1), "PNG")


def names(inputs, root: Path, options: SourceOptions | None = None) -> list[str]:
    """Return the names of the items below `root`, and failures as `name:reason`."""
    found = find_items([str(text) for text in inputs], options or SourceOptions())
    shown = [
        f"{one.name}:{one.error.what}" if isinstance(one, UnreadableImage) else one.name
        for one in found
        if not isinstance(one, SkippedLink)
    ]
    return [name.removeprefix(f"{root}/") for name in shown]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for name in ("b.JPG", "a.png", "notes.txt", ".hidden.jpg", "sub/c.webp", "sub/deep/d.jpeg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"abc")
    return root


def write_tar(path: Path, members: list[tuple[str, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_a_found_file_carries_its_size_and_time(photos):
    (file,) = find_items([str(photos / "a.png")])
    assert isinstance(file, ImageFile)
    item = look_at(file)
    state = (photos / "a.png").stat()
    assert item == Item(
        str(photos / "a.png"),
        ImageFile(str(photos / "a.png")),
        state.st_size,
        state.st_mtime_ns,
    )


def test_inputs_that_overlap_list_no_image_twice_in_any_order(photos):
    everything = ["a.png", "b.JPG", "sub/c.webp", "sub/deep/d.jpeg"]
    first = [photos / "sub", photos, photos / "sub" / ".." / "a.png", f"{photos}/*.JPG"]
    assert names(first, photos) == ["sub/c.webp", "sub/deep/d.jpeg", "a.png", "b.JPG"]
    second = [f"{photos}/**/*.*p*g", photos / "b.JPG", photos, photos]
    assert sorted(names(second, photos)) == everything


def test_a_link_to_a_folder_that_is_searched_anyway_lists_nothing_twice(photos):
    (photos / "sub" / "loop").symlink_to(photos)
    (photos / "again").symlink_to(photos / "sub")
    expected = ["a.png", "b.JPG", "sub/c.webp", "sub/deep/d.jpeg"]
    assert names([photos], photos) == expected
    assert names([photos], photos, SourceOptions(follow_links=True)) == expected


def test_a_link_to_a_hidden_folder_inside_is_followed(photos):
    (photos / ".versions" / "3").mkdir(parents=True)
    (photos / ".versions" / "3" / "v.png").write_bytes(b"abc")
    (photos / "now").symlink_to(photos / ".versions" / "3")
    assert "now/v.png" in names([photos], photos)


def test_links_that_lead_outside_are_counted_and_followed_only_on_request(photos, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "o.jpg").write_bytes(b"abc")
    (outside / "back").symlink_to(photos)
    (photos / "out").symlink_to(outside)
    (photos / "out.jpg").symlink_to(outside / "o.jpg")
    skipped = [one for one in find_items([str(photos)]) if isinstance(one, SkippedLink)]
    assert [link.path.name for link in skipped] == ["out", "out.jpg"]
    followed = names([photos], photos, SourceOptions(follow_links=True))
    assert followed == ["a.png", "b.JPG", "out/o.jpg", "out.jpg", "sub/c.webp", "sub/deep/d.jpeg"]


def test_a_folder_of_many_levels_is_searched_without_an_open_file_per_level(tmp_path):
    here = Path.cwd()
    try:
        os.chdir(tmp_path)
        for _ in range(300):
            Path("d").mkdir()
            os.chdir("d")
        Path("a.png").write_bytes(b"abc")
    finally:
        os.chdir(here)
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (150, hard))
    try:
        found = list(find_items([str(tmp_path)]))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [Path(one.name).name for one in found] == ["a.png"]


def test_large_folders_are_listed_in_sorted_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("captune.inference.images.SORTED_ENTRIES", 4)
    write_photos(tmp_path, 10)
    found = names([tmp_path], tmp_path)
    assert sorted(found) == [f"photo{n:06}.png" for n in range(10)]
    assert [found[n : n + 4] for n in (0, 4)] == [sorted(found[n : n + 4]) for n in (0, 4)]


@pytest.mark.skipif(os.name == "nt", reason="POSIX file names")
def test_odd_names_are_found_unchanged(tmp_path):
    for name in odd_names():
        (tmp_path / os.fsdecode(name)).write_bytes(PNG)
    assert sorted(map(os.fsencode, names([tmp_path], tmp_path))) == sorted(odd_names())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_found_and_never_opened(photos):
    os.mkfifo(photos / "pipe.jpg")
    (item,) = (one for one in find_items([str(photos)]) if one.name.endswith("pipe.jpg"))
    looked = look_at(item)
    assert (looked.size, looked.mtime_ns) == (None, None)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_listed_and_the_others_are_searched(photos):
    (photos / "sub").chmod(0)
    try:
        assert names([photos], photos) == ["a.png", "b.JPG", "sub:io"]
    finally:
        (photos / "sub").chmod(0o755)


def test_the_images_of_a_tar_are_found_in_place(tmp_path):
    tar = write_tar(tmp_path / "s.tar", [("a/1.png", PNG), ("a/1.txt", b"a dog"), ("2.jpg", PNG)])
    items = list(find_items([str(tar)]))
    assert [item.name for item in items] == [f"{tar}/a/1.png", f"{tar}/2.jpg"]
    assert items[0].image == TarMember(tar, "a/1.png", 512, len(PNG))
    assert (items[0].path, items[0].size) == (None, len(PNG))
    assert items[0].mtime_ns == tar.stat().st_mtime_ns


def test_the_images_of_a_compressed_tar_are_read_while_streaming(tmp_path):
    tar = write_tar(tmp_path / "s.tar.gz", [("1.png", PNG), ("1.txt", b"a dog")], "w:gz")
    (item,) = find_items([str(tar)])
    assert item.image == PNG


def test_members_that_cannot_be_used_are_listed(tmp_path):
    tar = write_tar(
        tmp_path / "s.tar", [("/etc/a.png", PNG), ("../b.png", PNG), ("c.png", PNG), ("c.png", PNG)]
    )
    with tarfile.open(tar, "a") as archive:
        device = tarfile.TarInfo("d.png")
        device.type = tarfile.CHRTYPE
        archive.addfile(device)
    found = names([tar], tar)
    assert found[:3] == ["/etc/a.png:unsafe_name", "../b.png:unsafe_name", "c.png"]
    assert found[3].startswith("c.png@")
    assert found[3].endswith(":duplicate_key")
    assert found[4] == "d.png:not_a_file"


def test_a_tar_that_ends_early_keeps_what_came_before(tmp_path):
    tar = write_tar(tmp_path / "s.tar", [("a.png", PNG), ("b.png", PNG)])
    tar.write_bytes(tar.read_bytes()[: 512 + 512 + 512 + 10])
    found = names([tar], tar)
    assert found[0] == "a.png"
    assert found[1].endswith(":truncated")


def test_a_folder_of_shards_is_read_and_a_backup_beside_photos_is_not(photos, tmp_path):
    shards = tmp_path / "shards"
    shards.mkdir()
    for number in (1, 0):
        write_tar(shards / f"{number}.tar", [(f"{number}.png", PNG)])
    (shards / "stats.json").write_text("{}")
    assert names([shards], shards) == ["0.tar/0.png", "1.tar/1.png"]
    write_tar(photos / "backup.tar", [("x.png", PNG)])
    assert "backup.tar/x.png" not in names([photos], photos)
    (photos / "a.png").unlink()
    (photos / "b.JPG").unlink()
    assert names([photos], photos) == ["sub/c.webp", "sub/deep/d.jpeg"]


def test_shards_are_not_written_among_the_archives_of_the_input(model, tmp_path):
    shards = tmp_path / "shards"
    shards.mkdir()
    write_tar(shards / "000000.tar", [("0.png", PNG)])
    with pytest.raises(OutputError, match="would caption its own shards"):
        caption(model, shards, to=("webdataset",), out=tmp_path / "." / "shards")
    assert [path.name for path in shards.iterdir()] == ["000000.tar"]


def test_the_rows_of_a_parquet_file_are_images(tmp_path):
    rows = [
        {"bytes": PNG, "path": "x.png"},
        {"bytes": None, "path": None},
        {"bytes": PNG, "path": ""},
    ]
    table = pa.table({"image": rows, "other": [1, 2, 3]})
    pq.write_table(table, tmp_path / "p.parquet")
    path = tmp_path / "p.parquet"
    # What an earlier run has written beside the images is no input.
    captions = ParquetFile(tmp_path / "captions.parquet")
    captions.resume(None, keep_earlier=False)
    captions.finish()
    found = list(find_items([str(tmp_path)]))
    assert [one.name for one in found] == [f"{path}/{n:09d}" for n in range(3)]
    assert found[0].image == PNG
    assert found[1].error.what == "missing"


def test_a_parquet_row_that_names_a_file_outside_is_listed(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.png").write_bytes(PNG)
    pq.write_table(pa.table({"image": ["a.png", "../b.png", "/etc/c.png"]}), folder / "p.parquet")
    found = names([folder / "p.parquet"], folder)
    assert found == [
        "p.parquet/000000000",
        "p.parquet/000000001:outside",
        "p.parquet/000000002:outside",
    ]


def test_urls_need_permission_and_forbidden_ones_are_listed():
    with pytest.raises(DataError, match=r"https://example.org/a.jpg is a URL"):
        find_items(["https://example.org/a.jpg"])
    allowed = SourceOptions(url_rules=UrlRules())
    inputs = ["https://example.org/a.jpg", "http://example.org/b.jpg", "https://example.org/a.jpg"]
    found = list(find_items(inputs, allowed))
    assert [one.name for one in found] == inputs[:2]
    assert found[1].error.what == "url_forbidden"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{photos}/b.JPGG", r"there is no .*b\.JPGG \(did you mean"),
        ("{photos}/*.gif", r"nothing matches .*\*\.gif"),
        ("photos/no.jpg", r"there is no photos/no\.jpg"),
        ("{photos}/broken.tar", r"broken\.tar is not a tar archive"),
        ("{photos}/broken.parquet", r"cannot read the Parquet files"),
    ],
)
def test_an_input_that_cannot_be_read_is_an_error_at_once(photos, text, message):
    for name in ("broken.tar", "broken.parquet"):
        (photos / name).write_bytes(b"nothing" * 200)
    with pytest.raises(DataError, match=message):
        find_items([str(photos / "a.png"), text.format(photos=photos)])


def test_nothing_found_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no images in"):
        list(find_items([str(tmp_path)]))
    (tmp_path / "a.jpg").symlink_to(tmp_path.parent / "elsewhere.jpg")
    with pytest.raises(DataError, match="but 1 link that leads outside") as caught:
        list(find_items([str(tmp_path)]))
    assert "--follow" in caught.value.fix
    with pytest.raises(DataError, match="an input is empty"):
        find_items([""])
    with pytest.raises(DataError, match="no input"):
        find_items([])


def test_a_file_that_vanishes_between_search_and_use_is_still_an_item(photos):
    (photos / "gone.png").symlink_to(photos / "nothing.png")
    (item,) = (one for one in find_items([str(photos)]) if one.name.endswith("gone.png"))
    assert look_at(item).size is None
