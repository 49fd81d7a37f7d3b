"""Whatever ends the thread that writes, the run notices."""

from __future__ import annotations

import pytest

from captune.bulk.formats.row_file import RowFile
from captune.bulk.writing.writer import WritingError
from support.bulk.hostile_images import write_photos
from support.bulk.library import caption
from support.bulk.stub_captioner import write_stub


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("error", [MemoryError, NameError])
def test_an_unexpected_error_while_writing_ends_the_run_which_can_be_resumed(
    tmp_path, monkeypatch, error
):
    model = write_stub(tmp_path / "model")
    photos = write_photos(tmp_path / "photos", 3)[0].parent
    out = tmp_path / "c.jsonl"

    def fail(form, rows):
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(RowFile, "add", fail)
        with pytest.raises(WritingError, match=error.__name__):
            caption(model, photos, out=out)
    assert not out.exists()
    caption(model, photos, out=out)
    assert len(out.read_text().splitlines()) == 3
