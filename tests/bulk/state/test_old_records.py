"""What captune 0.1 left beside its captions: read, or ignored where it is damaged."""

from __future__ import annotations

from pathlib import Path

from captune.bulk.state.maker import read_old_maker
from captune.bulk.state.old_part import take_old_part
from captune.storage import STATE_FOLDER

NESTED = "[" * 50_000


def test_damaged_records_are_ignored(tmp_path: Path) -> None:
    (tmp_path / STATE_FOLDER).mkdir()
    (tmp_path / STATE_FOLDER / "c.jsonl.made_by").write_text(NESTED)
    assert read_old_maker(tmp_path / "c.jsonl") is None
    for content in ('{"made_by": ' + NESTED, '{"made_by": {}}\n[7]', '{"made_by": {}}\n{}'):
        (tmp_path / "c.jsonl.part").write_text(f"{content}\n")
        assert take_old_part(tmp_path / "c.jsonl", now={}, force=False) is None
