"""WebDataset shards: their content, and that a kill loses and duplicates nothing."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from captune.bulk.formats.tar_shards import TarShards
from captune.bulk.items import CaptionedItem, Item
from captune.data import load_records
from captune.errors import OutputError
from captune.records import Prediction
from support.metadata_images import encoded


def row(name: str, caption: str = "a dog", image: object = None) -> CaptionedItem:
    content = encoded("jpeg") if image is None else image
    prediction = Prediction(name, caption, -0.5, 3, "eos", ())
    return CaptionedItem(Item(name, content), prediction)  # type: ignore[arg-type]


def rows(start: int, stop: int) -> list[CaptionedItem]:
    return [row(f"image {n}.jpg", f"caption {n}") for n in range(start, stop)]


def members(folder: Path) -> dict[str, bytes]:
    """Return the members of all shards, which must be whole archives with unique names."""
    found: dict[str, bytes] = {}
    for shard in sorted(folder.glob("*.tar")):
        with tarfile.open(shard) as archive:
            for member in archive:
                file = archive.extractfile(member)
                assert file is not None
                assert member.name not in found
                found[member.name] = file.read()
    return found


def captions(folder: Path) -> list[str]:
    return [text.decode() for name, text in members(folder).items() if name.endswith(".txt")]


def test_an_image_is_three_members_with_one_key(tmp_path: Path) -> None:
    shards = TarShards(tmp_path / "out")
    shards.resume(None, keep_earlier=True)
    shards.add([row("photo.PNG", "ein Hünd", encoded("png"))])
    shards.finish()
    found = members(tmp_path / "out")
    assert list(found) == ["000000000.png", "000000000.txt", "000000000.json"]
    assert found["000000000.png"] == encoded("png")
    assert found["000000000.txt"] == "ein Hünd".encode()
    assert json.loads(found["000000000.json"])["image_id"] == "photo.PNG"


def test_captune_reads_its_shards_as_a_data_set(tmp_path: Path) -> None:
    shards = TarShards(tmp_path / "out", shard_images=2)
    shards.resume(None, keep_earlier=True)
    shards.add(rows(0, 5))
    shards.finish()
    assert len(load_records(tmp_path / "out").records) == 5


def test_untrusted_file_names_do_not_become_member_names(tmp_path: Path) -> None:
    shards = TarShards(tmp_path / "out")
    shards.resume(None, keep_earlier=True)
    names = [
        "../../evil.jpg",
        "/etc/passwd.jpg",
        "a/../b.jpg",
        "x\n.jpg",
        "\udcff.jpg",
        "../../e.jpg",
    ]
    shards.add([row(name) for name in names])
    shards.finish()
    assert all(name.partition(".")[0].isdecimal() for name in members(tmp_path / "out"))
    assert list(TarShards(tmp_path / "out").earlier_names()) == names


@pytest.mark.parametrize("kept", range(12))
def test_a_run_killed_after_any_commit_resumes_without_loss_or_duplicates(
    kept: int, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    first = TarShards(folder, shard_images=3)
    states = [first.resume(None, keep_earlier=True)]
    for number in range(11):
        states.append(first.add(rows(number, number + 1)))
    # The journal has committed `kept` rows; the shards hold more. Nothing is closed, as in a kill.
    second = TarShards(folder, shard_images=3)
    second.resume(states[kept], keep_earlier=True)
    second.add(rows(kept, 11))
    second.finish()
    first.close()
    assert captions(folder) == [f"caption {n}" for n in range(11)]
    assert not list(folder.glob("*.part"))


def test_a_kill_after_the_last_step_of_finish_is_harmless(tmp_path: Path) -> None:
    first = TarShards(tmp_path, shard_images=3)
    first.resume(None, keep_earlier=True)
    state = first.add(rows(0, 4))
    first.finish()
    second = TarShards(tmp_path, shard_images=3)
    second.resume(state, keep_earlier=True)
    second.finish()
    assert captions(tmp_path) == [f"caption {n}" for n in range(4)]


def test_a_later_run_adds_shards_after_the_earlier_ones(tmp_path: Path) -> None:
    for start in (0, 4):
        shards = TarShards(tmp_path, shard_images=3)
        shards.resume(None, keep_earlier=True)
        shards.add(rows(start, start + 4))
        shards.finish()
    assert captions(tmp_path) == [f"caption {n}" for n in range(8)]
    assert len(list(TarShards(tmp_path).earlier_names())) == 8


def test_finished_shards_are_never_overwritten(tmp_path: Path) -> None:
    shards = TarShards(tmp_path)
    shards.resume(None, keep_earlier=True)
    shards.add(rows(0, 1))
    shards.finish()
    with pytest.raises(OutputError, match="never overwritten"):
        TarShards(tmp_path).resume(b"", keep_earlier=False)


def test_a_shard_that_lacks_committed_images_is_refused(tmp_path: Path) -> None:
    shards = TarShards(tmp_path)
    shards.resume(None, keep_earlier=True)
    state = shards.add(rows(0, 2))
    shards.close()
    (tmp_path / "000000.tar.part").write_bytes(b"short")
    with pytest.raises(OutputError, match="lacks images"):
        TarShards(tmp_path).resume(state, keep_earlier=True)


def test_an_image_that_vanished_is_listed(tmp_path: Path) -> None:
    shards = TarShards(tmp_path / "out")
    shards.resume(None, keep_earlier=True)
    shards.add([row("gone.jpg", image=tmp_path / "gone.jpg"), *rows(0, 1)])
    shards.finish()
    assert shards.missing == ["gone.jpg"]
    assert captions(tmp_path / "out") == ["caption 0"]


def test_a_run_without_images_leaves_no_folder(tmp_path: Path) -> None:
    shards = TarShards(tmp_path / "out")
    shards.resume(None, keep_earlier=True)
    shards.finish()
    assert not (tmp_path / "out").exists()


def test_a_tar_with_other_content_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "000000.tar", "w") as archive:
        member = tarfile.TarInfo("a.json")
        member.size = 2
        archive.addfile(member, io.BytesIO(b"{}"))
    with pytest.raises(OutputError, match="other than captions"):
        list(TarShards(tmp_path).earlier_names())


def test_a_run_killed_before_its_first_commit_resumes(tmp_path: Path) -> None:
    # What a kill leaves after `resume` and before the commit of its state.
    (tmp_path / "000000.tar.part").touch()
    resumed = TarShards(tmp_path)
    resumed.resume(None, keep_earlier=True)
    resumed.add(rows(0, 2))
    resumed.finish()
    assert captions(tmp_path) == ["caption 0", "caption 1"]


def test_a_shard_that_somebody_added_during_the_run_is_kept(tmp_path: Path) -> None:
    shards = TarShards(tmp_path)
    shards.resume(None, keep_earlier=True)
    state = shards.add(rows(0, 2))
    (tmp_path / "000000.tar").write_bytes(b"of another machine")
    with pytest.raises(OutputError, match=r"000000\.tar was not written by this run"):
        shards.finish()
    shards.close()
    (tmp_path / "000000.tar").rename(tmp_path / "moved")
    resumed = TarShards(tmp_path)
    resumed.resume(state, keep_earlier=True)
    resumed.finish()
    assert captions(tmp_path) == ["caption 0", "caption 1"]
    assert (tmp_path / "moved").read_bytes() == b"of another machine"


@pytest.mark.parametrize("name", ["000001.tar", "000001.tar.part"])
def test_a_later_shard_that_somebody_added_is_kept(tmp_path: Path, name: str) -> None:
    shards = TarShards(tmp_path)
    shards.resume(None, keep_earlier=True)
    state = shards.add(rows(0, 2))
    shards.close()
    (tmp_path / name).write_bytes(b"of another machine")
    with pytest.raises(OutputError, match=f"{name} was not written by this run"):
        TarShards(tmp_path).resume(state, keep_earlier=True)
    assert (tmp_path / name).read_bytes() == b"of another machine"


def test_another_file_with_the_name_of_the_part_is_kept(tmp_path: Path) -> None:
    part = tmp_path / "000000.tar.part"
    part.write_bytes(b"half a film")
    with pytest.raises(OutputError, match="is not part of a run in the journal"):
        TarShards(tmp_path).resume(None, keep_earlier=True)
    assert part.read_bytes() == b"half a film"
