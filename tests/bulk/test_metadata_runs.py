"""Whole runs that embed captions, with images that cannot hold one, kills and undo."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from captune.bulk import BulkSettings, find_items, preview_run, undo_run
from captune.bulk.metadata import read_embedded, read_sidecar
from support.bulk.hostile_images import write_photos
from support.bulk.kills import read_tree
from support.bulk.library import StubModel, caption
from support.bulk.stub_captioner import write_stub
from support.metadata_images import encoded


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_stub(tmp_path / "model")


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    write_photos(folder, 3)
    (folder / "a.jpeg").write_bytes(encoded("jpeg"))
    (folder / "b.png").write_bytes(encoded("png"))
    (folder / "c.webp").write_bytes(encoded("webp"))
    Image.linear_gradient("L").save(folder / "d.gif")
    (folder / "e.jpg").write_bytes(encoded("jpeg-grey") + b"unknown data behind the image")
    return folder


def captioned(library: Path) -> dict[str, str | None]:
    """Return the caption that each image has, in itself or beside it."""
    found = {}
    for path in sorted(library.iterdir()):
        if path.is_file() and path.suffix != ".xmp":
            sidecar = Path(f"{path}.xmp")
            if sidecar.exists():
                found[path.name] = read_sidecar(sidecar.read_bytes()).description
            else:
                found[path.name] = read_embedded(path.read_bytes()).description
    return found


def test_every_image_has_its_caption_embedded_or_beside_it(model: Path, library: Path) -> None:
    result = caption(model, library, to=("metadata",))
    assert all(captioned(library).values())
    assert sorted(path.name for path in library.glob("*.xmp")) == ["d.gif.xmp", "e.jpg.xmp"]
    assert (result.outcome.num_done, result.outcome.num_failed) == (6, 2)


def test_images_that_cannot_hold_a_caption_are_listed(model: Path, library: Path) -> None:
    result = caption(model, library, to=("metadata",))
    lines = Path(result.failures_path).read_text().splitlines()
    rows = {Path(row["image_id"]).name: row for row in map(json.loads, lines)}
    assert set(rows) == {"d.gif", "e.jpg"}
    assert rows["d.gif"]["code"] == "embed_unsupported"


@pytest.mark.parametrize("existing", [None, "append", "overwrite"])
def test_a_second_run_changes_nothing_unless_it_overwrites(
    existing: str | None, model: Path, library: Path
) -> None:
    caption(model, library, to=("metadata",), existing=existing)
    first = read_tree(library)
    result = caption(model, library, to=("metadata",), existing=existing)
    assert read_tree(library) == first
    assert result.outcome.num_found == 8


def test_undo_restores_every_byte_and_removes_the_files_beside(model: Path, library: Path) -> None:
    before = read_tree(library)
    result = caption(model, library, to=("metadata",))
    assert read_tree(library) != before
    undone = undo_run(result.run_id)
    assert read_tree(library) == before
    assert (undone.num_restored, undone.kept) == (8, [])


def test_several_outputs_of_one_image_are_written_and_undone(model: Path, library: Path) -> None:
    before = read_tree(library)
    result = caption(
        model, library, to=("metadata", "xmp", "txt"), naming="full", existing="append"
    )
    assert len(list(library.glob("*.txt"))) == len(list(library.glob("*.xmp"))) == 8
    assert result.outcome.kept == []
    undo_run(result.run_id)
    assert read_tree(library) == before


def test_a_preview_shows_the_files_that_the_run_writes(model: Path, library: Path) -> None:
    shown = preview_run(
        StubModel(model),
        find_items((str(library),)),
        inputs=(str(library),),
        settings=BulkSettings(to=("metadata",), decode="inline"),
        num_captions=100,
    ).captions
    before = read_tree(library)
    result = caption(model, library, to=("metadata",))
    after = read_tree(library)
    names = [one.name for one in shown]
    assert len(names) == len(set(names)) == 8
    changed = {name for name in after if after[name] != before.get(name)}
    assert {str(path.relative_to(library)) for one in shown for path in one.files} == {
        name for name in changed if not name.startswith(".captune")
    }
    failed = {Path(one.name).name: one.error.what for one in shown if one.error is not None}
    assert failed == {"d.gif": "embed_unsupported", "e.jpg": "embed_unsupported"}
    assert len(failed) == result.outcome.num_failed
