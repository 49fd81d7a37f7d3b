"""Records beside captions: those of captune 0.1 are ignored where they are damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from captune.bulk.state.maker import read_old_maker
from captune.bulk.state.old_part import take_old_part
from captune.bulk.state.place import JournalPlace
from captune.bulk.state.remote import remote_of
from captune.errors import OutputError
from captune.storage import STATE_FOLDER

NESTED = "[" * 50_000


def test_damaged_records_are_ignored(tmp_path: Path) -> None:
    (tmp_path / STATE_FOLDER).mkdir()
    (tmp_path / STATE_FOLDER / "c.jsonl.made_by").write_text(NESTED)
    assert read_old_maker(tmp_path / "c.jsonl") is None
    for content in ('{"made_by": ' + NESTED, '{"made_by": {}}\n[7]', '{"made_by": {}}\n{}'):
        (tmp_path / "c.jsonl.part").write_text(f"{content}\n")
        assert take_old_part(tmp_path / "c.jsonl", now={}, force=False) is None


@pytest.mark.parametrize("content", ["{}", '{"same": []}', '{"same": {"a": 1}, "url": "s3://b"}'])
def test_a_damaged_record_of_copies_is_named(tmp_path: Path, content: str) -> None:
    place = JournalPlace(tmp_path, "c.jsonl")
    place.remote.parent.mkdir()
    place.remote.write_text(content)
    with pytest.raises(OutputError, match=r"c\.jsonl\.remote\.json is damaged"):
        remote_of(place)
