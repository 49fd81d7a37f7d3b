"""An output that is a link: the link stays, and the file or folder that it leads to is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from captune.bulk import Outcome, Surroundings, merge_shares, undo_run
from captune.errors import OutputError
from captune.storage import lock_file
from support.bulk.hostile_images import write_photos
from support.bulk.kills import read_tree
from support.bulk.library import caption

pytestmark = pytest.mark.skipif("os.name == 'nt'", reason="links need a permission on Windows")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_photos(tmp_path / "photos", 4)
    return tmp_path / "photos"


def stop(outcome: Outcome) -> None:
    if outcome.num_generated == 3:
        raise KeyboardInterrupt


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet", "webdataset"])
def test_what_a_link_leads_to_is_written_resumed_and_undone(
    model, photos, tmp_path, form, is_there
):
    disk = tmp_path / "disk"
    disk.mkdir()
    link, target = tmp_path / f"link.{form}", disk / f"target.{form}"
    if is_there:
        caption(model, photos / "photo000000.png", to=(form,), out=target)
    before = read_tree(disk, without=(".captune",))
    link.symlink_to(target)
    with pytest.raises(KeyboardInterrupt):
        around = Surroundings(on_progress=stop)
        caption(model, photos, to=(form,), out=link, around=around, batch_size=1)
    result = caption(model, photos, to=(form,), out=link)
    assert result.outcome.num_done + result.outcome.num_skipped == 4
    assert link.is_symlink()
    assert caption(model, photos, to=(form,), out=target).outcome.num_skipped == 4
    assert [path for path in tmp_path.glob("link*") if path != link] == []
    assert undo_run(str(link)).kept == []
    assert link.is_symlink()
    assert read_tree(disk, without=(".captune",)) == before


def test_a_run_by_the_links_name_and_one_by_the_targets_exclude_each_other(model, photos, tmp_path):
    (tmp_path / "disk").mkdir()
    target = tmp_path / "disk" / "captions.jsonl"
    (tmp_path / "link.jsonl").symlink_to(target)
    with lock_file(target), pytest.raises(OutputError, match="is in use by"):
        caption(model, photos, out=tmp_path / "link.jsonl")


def test_several_formats_write_to_the_links_in_their_folder_and_lock_each_file(
    model, photos, tmp_path
):
    out, target = tmp_path / "out", tmp_path / "target.csv"
    out.mkdir()
    (out / "captions.csv").symlink_to(target)
    with pytest.raises(KeyboardInterrupt):
        around = Surroundings(on_progress=stop)
        caption(model, photos, to=("jsonl", "csv"), out=out, around=around, batch_size=1)
    assert undo_run(str(out)).num_restored == 2
    for path in (out / "captions.jsonl", target):
        with lock_file(path), pytest.raises(OutputError, match="is in use by"):
            caption(model, photos, to=("jsonl", "csv"), out=out)
    caption(model, photos, to=("jsonl", "csv"), out=out)
    assert (out / "captions.csv").is_symlink()
    assert target.read_text().count("photo00000") == 4


def test_a_merge_writes_to_the_target_and_reads_through_links(model, photos, tmp_path):
    caption(model, photos, out=tmp_path / "c.jsonl")
    (tmp_path / "part.jsonl").symlink_to(tmp_path / "c.jsonl")
    (tmp_path / "all.jsonl").symlink_to(tmp_path / "target.jsonl")
    merge_shares(tmp_path / "all.jsonl", [tmp_path / "part.jsonl"], force=True)
    assert (tmp_path / "all.jsonl").is_symlink()
    assert (tmp_path / "target.jsonl").read_bytes() == (tmp_path / "c.jsonl").read_bytes()
    with pytest.raises(OutputError, match="one of its own parts"):
        merge_shares(tmp_path / "part.jsonl", [tmp_path / "c.jsonl"], force=True)


def test_a_link_that_leads_to_itself_is_an_error(model, photos, tmp_path):
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    with pytest.raises(OutputError, match="is a link that points nowhere"):
        caption(model, photos, out=tmp_path / "loop.jsonl")


def test_an_output_may_be_named_like_the_journal_of_a_folder(model, photos, tmp_path):
    out = tmp_path / "bulk.jsonl"
    with pytest.raises(KeyboardInterrupt):
        around = Surroundings(on_progress=stop)
        caption(model, photos, out=out, around=around, batch_size=1)
    assert undo_run(str(out)).num_restored == 1
    assert list(tmp_path.glob("*.jsonl*")) == []
