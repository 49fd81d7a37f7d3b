"""Images inside zips and tars: read in place, in worker processes too, never from outside."""

from __future__ import annotations

import contextlib
import io
import random
import tarfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from captune.data import assign_splits, decode_image, load_splits, read_source, save_splits
from captune.data.archives.archive import is_unsafe_name, list_zip, read_zip_text
from captune.data.archives.tar_index import iter_tar
from captune.errors import DataError, ImageError
from captune.records import CaptionRecord, TarMember, ZipMember
from support.soak import count, soak

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1234\n"


def write_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


def write_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def entries(path, **options):
    return list(iter_tar(path, text_suffixes=frozenset((".txt",)), **options))


# --- zips -------------------------------------------------------------------------------------


def test_the_files_of_a_zip_are_listed_without_those_that_macos_adds(tmp_path):
    members = {"a/": b"", ".": b"", "a/1.png": b"x", "__MACOSX/a/._1.png": b"", "a/.DS_Store": b""}
    assert list_zip(write_zip(tmp_path / "i.zip", members)) == ("a/1.png",)


@pytest.mark.parametrize(
    "name", ["/etc/1.png", "../1.png", "a/../../1.png", "C:\\1.png", "a\\..\\..\\1.png", "\\1.png"]
)
def test_a_zip_with_a_name_that_leads_out_of_it_is_refused(tmp_path, name):
    path = write_zip(tmp_path / "i.zip", {"ok.png": b"x", name: b"x"})
    with pytest.raises(DataError, match="leads out of the archive's folder") as caught:
        list_zip(path)
    assert repr(name) in caught.value.what


def test_names_with_dots_that_stay_inside_are_accepted():
    assert not any(map(is_unsafe_name, ["a..b.png", "...png", "a/b..c/d.png", "cd:1.png"]))


def test_a_truncated_zip_and_a_file_that_is_not_a_zip_have_different_errors(tmp_path):
    whole = write_zip(tmp_path / "i.zip", {f"{n}.png": bytes(2000) for n in range(9)})
    cut = tmp_path / "cut.zip"
    cut.write_bytes(whole.read_bytes()[:-900])
    with pytest.raises(DataError, match=r"cut\.zip is truncated or damaged: its table of contents"):
        list_zip(cut)
    page = tmp_path / "page.zip"
    page.write_bytes(b"<!doctype html><title>Log in")
    with pytest.raises(DataError, match=r"is not a zip archive: it starts with '<!doctype html>"):
        list_zip(page)
    (tmp_path / "empty.zip").touch()
    with pytest.raises(DataError, match="is empty: 0 bytes"):
        list_zip(tmp_path / "empty.zip")


def test_a_git_lfs_pointer_is_reported_for_a_zip_and_for_a_tar(tmp_path):
    for name in ("i.zip", "i.tar"):
        (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(DataError, match=r"i\.zip is a Git LFS pointer"):
        list_zip(tmp_path / "i.zip")
    with pytest.raises(DataError, match=r"i\.tar is a Git LFS pointer"):
        entries(tmp_path / "i.tar")


def test_a_zip_with_a_password_is_refused(tmp_path):
    path = write_zip(tmp_path / "i.zip", {"a.png": b"x"})
    content = bytearray(path.read_bytes())
    # The flag is in the header of the file and in the table of contents.
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="protected by a password"):
        list_zip(path)


# --- tars -------------------------------------------------------------------------------------


def test_a_tar_lists_its_members_with_offsets(tmp_path, png_bytes):
    path = write_tar(tmp_path / "i.tar", {"a.png": png_bytes(), "b/a.txt": b"hello"})
    image, text = entries(path)
    assert path.read_bytes()[image.offset :][: image.size] == png_bytes()
    assert image.content is None
    assert text.content == b"hello"
    member = TarMember(path, "a.png", image.offset, image.size)
    assert read_source(member) == png_bytes()
    assert decode_image(member).size == (16, 16)


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tars_of_every_format_with_long_names_are_read(tmp_path, format):
    name = "folder/" * 20 + "é" * 20 + ".png"
    with tarfile.open(tmp_path / "i.tar", "w", format=format) as archive:
        info = tarfile.TarInfo(name if format != tarfile.USTAR_FORMAT else name[-100:])
        info.size = 5
        archive.addfile(info, io.BytesIO(b"12345"))
    (entry,) = entries(tmp_path / "i.tar")
    assert (tmp_path / "i.tar").read_bytes()[entry.offset :][:5] == b"12345"
    assert entry.name == info.name


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_members_of_a_compressed_tar_include_their_content(tmp_path, png_bytes, mode):
    path = write_tar(tmp_path / "i.tgz", {"a.png": png_bytes(), "a.txt": b"x"}, mode)
    assert [(e.name, e.content) for e in entries(path)] == [("a.png", png_bytes()), ("a.txt", b"x")]


def test_members_that_lead_out_or_are_not_files_are_listed_and_never_extracted(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    path = inside / "i.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("/tmp/abs.png", "../up.png", "a/../../up2.png"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
        for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.SYMTYPE):
            info = tarfile.TarInfo(f"special-{kind.decode()}.png")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        archive.addfile(tarfile.TarInfo("good.png"), io.BytesIO(b""))
    faults = [entry.fault for entry in entries(path)]
    assert faults == ["unsafe_name"] * 3 + ["not_a_file"] * 4 + [""]
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["i.tar", "inside"]


# Four members: a header of 512 bytes, 600 of content, filled up to 1024.
@pytest.mark.parametrize(
    ("size", "whole", "is_cut"),
    [
        (4 * 1536 + 1024, 4, False),
        (4 * 1536, 4, False),
        (4 * 1536 - 1, 4, True),
        (3 * 1536 + 512 + 599, 3, True),
        (3 * 1536 + 300, 3, True),
        (3 * 1536, 3, False),
        (2 * 1536 + 512, 2, True),
        (512 + 10, 0, True),
    ],
)
def test_a_truncated_tar_gives_its_complete_members_and_is_reported(tmp_path, size, whole, is_cut):
    members = {f"{n}.png": bytes([n + 1]) * 600 for n in range(4)}
    path = write_tar(tmp_path / "i.tar", members)
    path.write_bytes(path.read_bytes()[:size])
    found = entries(path)
    assert [entry.name for entry in found if not entry.fault] == list(members)[:whole]
    assert [entry.fault for entry in found[whole:]] == ["truncated"] * is_cut
    for entry in found[:whole]:
        assert path.read_bytes()[entry.offset :][: entry.size] == members[entry.name]


def test_bytes_after_a_member_that_are_not_a_header_are_reported(tmp_path):
    path = write_tar(tmp_path / "i.tar", {"a.png": bytes(512), "b.png": bytes(512)})
    content = bytearray(path.read_bytes())
    content[1024:1100] = b"\x5a" * 76
    path.write_bytes(content)
    assert [(e.name, e.fault) for e in entries(path)] == [
        ("a.png", ""),
        ("(what follows a.png)", "truncated"),
    ]


def test_a_file_that_is_not_a_tar_is_an_error(tmp_path):
    for content in (b"", b"<html>" * 200, bytes(range(256)) * 9):
        (tmp_path / "i.tar").write_bytes(content)
        with pytest.raises(DataError, match="is not a tar archive, or is damaged"):
            entries(tmp_path / "i.tar")


def test_a_truncated_compressed_tar_is_an_error(tmp_path):
    members = {f"{n}.png": random.Random(n).randbytes(9000) for n in range(4)}
    path = write_tar(tmp_path / "i.tgz", members, "w:gz")
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(DataError, match=r"is damaged: unexpected end of data"):
        entries(path)


def test_a_tar_changed_after_reading_loses_only_its_own_images(tmp_path, png_bytes):
    path = write_tar(tmp_path / "i.tar", {"a.png": png_bytes()})
    (entry,) = entries(path)
    member = TarMember(path, "a.png", entry.offset, entry.size)
    path.write_bytes(path.read_bytes()[: entry.offset + 10])
    with pytest.raises(ImageError, match="truncated"):
        decode_image(member)
    path.unlink()
    with pytest.raises(ImageError, match="missing"):
        decode_image(member)


# --- random damage ---------------------------------------------------------------------------


def whole_archives():
    """A zip and tars as bytes, with names that are not ASCII and so have several encodings."""
    members = {f"é/{n}.txt": b"text " * 40 for n in range(3)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    archives = {"zip": buffer.getvalue()}
    for mode in ("w", "w:gz", "w:xz"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode, format=tarfile.PAX_FORMAT) as archive:
            for name, content in members.items():
                info = tarfile.TarInfo("é" * 60 + name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        archives[mode] = buffer.getvalue()
    return archives


WHOLE = whole_archives()


@soak
@settings(max_examples=count(100, full=3000), deadline=None)
@given(data=st.data(), kind=st.sampled_from(sorted(WHOLE)))
def test_damaged_archives_are_read_or_are_data_errors(tmp_path_factory, data, kind):
    content = bytearray(WHOLE[kind])
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.sampled_from((0, 255)) | st.integers(0, 255))
    end = data.draw(st.just(len(content)) | st.integers(1, len(content)))
    path = tmp_path_factory.mktemp("damaged") / "a.bin"
    path.write_bytes(content[:end])
    with contextlib.suppress(DataError):
        if kind != "zip":
            entries(path)
            return
        for name in list_zip(path):
            with contextlib.suppress(ImageError):
                read_source(ZipMember(path, name))
            read_zip_text(path, name)


# --- through the splits into worker processes -------------------------------------------------


class Decoded:
    def __init__(self, records):
        self.records = records

    def __len__(self):
        return len(self.records)

    def __getitem__(self, place):
        return bytes(decode_image(self.records[place].image).getpixel((0, 0)))


def make_records(folder, png_bytes):
    contents = {f"{n}.png": png_bytes((n, 2 * n, 3 * n)) for n in range(12)}
    write_zip(folder / "i.zip", contents)
    write_tar(folder / "i.tar", contents)
    zipped = [CaptionRecord(f"z{n}", ZipMember(folder / "i.zip", n), ("x",)) for n in contents]
    tarred = [
        CaptionRecord(f"t{e.name}", TarMember(folder / "i.tar", e.name, e.offset, e.size), ("x",))
        for e in entries(folder / "i.tar")
    ]
    return [*zipped, *tarred]


def test_worker_processes_decode_members_as_this_process_does(tmp_path, png_bytes):
    records = make_records(tmp_path, png_bytes)
    # Opened here first: a file position shared with the workers would mix up their reads.
    here = [Decoded(records)[place] for place in range(len(records))]
    there = list(DataLoader(Decoded(records), batch_size=None, num_workers=2, shuffle=False))
    assert there == here == [bytes((n, 2 * n, 3 * n)) for n in range(12)] * 2


def test_members_load_from_the_split_files_after_run_and_data_moved(tmp_path, png_bytes):
    (tmp_path / "one" / "data").mkdir(parents=True)
    records = assign_splits(make_records(tmp_path / "one" / "data", png_bytes))
    save_splits(records, tmp_path / "one" / "run")
    assert set(load_splits(tmp_path / "one" / "run")) == set(records)
    (tmp_path / "one").rename(tmp_path / "two")
    moved = load_splits(tmp_path / "two" / "run")
    assert {type(record.image) for record in moved} == {ZipMember, TarMember}
    assert sorted(decode_image(record.image).getpixel((0, 0))[0] for record in moved) == sorted(
        [*range(12), *range(12)]
    )
