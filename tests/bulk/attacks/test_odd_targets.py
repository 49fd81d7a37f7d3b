"""A file that cannot be written costs its image; a replaced image gets no stale caption."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from captune.errors import OutputError
from support.bulk.hostile_images import photo, write_photos
from support.bulk.library import StubModel, caption
from support.bulk.stub_captioner import StubCaptioner, caption_of, load_stub, write_stub

pytestmark = pytest.mark.skipif("os.name == 'nt'", reason="links and names of POSIX")


@pytest.fixture
def model(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("CAPTUNE_CACHE", str(tmp_path / "cache"))
    return write_stub(tmp_path / "model")


def failures(result) -> dict[str, str]:
    return {Path(name).name: error.what for name, error in result.outcome.failures}


def test_a_folder_or_a_link_loop_in_place_of_a_text_file_costs_that_image(model, tmp_path):
    photos = write_photos(tmp_path / "photos", 5)
    photos[1].with_suffix(".txt").mkdir()
    photos[2].with_suffix(".txt").symlink_to(photos[2].with_suffix(".txt").name)
    photos[3].with_suffix(".txt").symlink_to("no/such/folder.txt")
    result = caption(model, photos[0].parent, to=("txt",))
    wanted = {path.name: "io" for path in photos[1:4]}
    assert failures(result) == wanted
    assert (result.outcome.num_done, result.outcome.num_found) == (2, 5)
    assert photos[4].with_suffix(".txt").read_text().strip() == caption_of(photo(4))
    photos[1].with_suffix(".txt").rmdir()
    again = caption(model, photos[0].parent, to=("txt",))
    assert (again.outcome.num_done, len(failures(again))) == (1, 2)
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("form", ["txt", "xmp"])
def test_a_pipe_in_place_of_a_text_file_is_not_opened_and_costs_that_image(model, tmp_path, form):
    photos = write_photos(tmp_path / "photos", 3)
    os.mkfifo(photos[1].with_suffix(f".{form}"))
    result = caption(model, photos[0].parent, to=(form,))
    assert failures(result) == {photos[1].name: "io"}
    assert result.outcome.num_done == 2


@pytest.mark.parametrize("form", ["txt", "caption", "xmp"])
def test_names_too_long_for_an_extension_are_listed(model, tmp_path, form):
    photos = write_photos(tmp_path / "photos", 2)
    long = photos[0].rename(photos[0].with_name("x" * 251 + ".png"))
    result = caption(model, long.parent, to=(form,), naming="full")
    assert failures(result) == {long.name: "name_too_long"}
    assert result.outcome.num_done == 1


def test_a_long_name_gets_no_sidecar_if_the_image_cannot_hold_the_caption(model, tmp_path):
    (tmp_path / "photos").mkdir()
    photo(1).save(tmp_path / "photos" / ("x" * 251 + ".gif"))
    result = caption(model, tmp_path / "photos", to=("metadata",))
    assert list(failures(result).values()) == ["embed_unsupported"]


def test_a_folder_that_became_a_file_since_a_kill_stops_no_run(model, tmp_path):
    folder = tmp_path / "photos"
    (lost, *_), _ = write_photos(folder / "sub", 2), write_photos(folder, 1)
    caption(model, folder, to=("txt",))
    with closing(sqlite3.connect(folder / ".captune" / "bulk.sqlite")) as journal, journal:
        # As after a kill before the changes were recorded as done.
        journal.execute("UPDATE changes SET state = 'intent'")
    shutil.rmtree(lost.parent)
    lost.parent.write_text("a file")
    again = caption(model, folder, to=("txt",)).outcome
    assert (again.num_done, again.num_skipped, again.num_failed) == (0, 1, 0)


def test_a_full_disk_still_stops_the_run(model, tmp_path, monkeypatch):
    photos = write_photos(tmp_path / "photos", 3)

    def fail(*_words: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match="No space left"):
        caption(model, photos[0].parent, to=("txt",))


@pytest.mark.parametrize("form", ["txt", "xmp"])
@pytest.mark.parametrize("existing", ["skip", "overwrite", "append"])
def test_a_pipe_in_place_of_a_text_file_costs_that_image(model, tmp_path, form, existing):
    photos = write_photos(tmp_path / "photos", 2)
    os.mkfifo(photos[0].with_suffix(f".{form}"))
    result = caption(model, photos[0].parent, to=(form,), existing=existing)
    assert failures(result) == {photos[0].name: "io"}
    assert result.outcome.num_done == 1


@pytest.mark.skipif("sys.platform != 'linux'", reason="a file that nobody can read, not even root")
@pytest.mark.parametrize(("form", "ending"), [("txt", ".txt"), ("metadata", ".gif.xmp")])
@pytest.mark.parametrize("existing", ["skip", "overwrite"])
def test_a_file_that_cannot_be_read_costs_that_image(model, tmp_path, form, ending, existing):
    photos = write_photos(tmp_path / "photos", 3)
    if form == "metadata":
        photo(7).save(tmp_path / "photos" / "photo000001.gif")
    (tmp_path / "photos" / f"photo000001{ending}").symlink_to("/proc/self/clear_refs")
    result = caption(model, photos[0].parent, to=(form,), existing=existing)
    assert list(failures(result).values()) == ["io"]
    assert result.outcome.num_done == result.outcome.num_found - 1


class ReplacingStub(StubModel):
    """A stub whose first image is replaced by another while it is captioned."""

    def load(self, num_images: int, *, was_killed: bool = False) -> StubCaptioner:
        captioner = load_stub(self.folder)
        target, other = self.folder.parent / "photos" / "a.png", self.folder.parent / "new.png"
        shutil.copy(other, target)
        os.utime(target, (2_000_000_000, 2_000_000_000))
        return captioner


def test_an_image_replaced_during_the_run_gets_its_caption_from_the_next_run(model, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    photo(1).save(folder / "a.png")
    shutil.copy(folder / "a.png", folder / "copy.png")
    photo(2).save(tmp_path / "new.png")
    photo(3).save(folder / "z.png")
    result = caption(ReplacingStub(model), folder, to=("txt",))
    # The copy shares the fate of the image that stood for both.
    assert failures(result) == {"a.png": "changed", "copy.png": "changed"}
    assert {path.name for path in folder.glob("*.txt")} == {"z.txt"}
    again = caption(model, folder, to=("txt",))
    assert again.outcome.num_done == 2
    assert (folder / "a.txt").read_text().strip() == caption_of(photo(2))
    assert (folder / "copy.txt").read_text().strip() == caption_of(photo(1))
