"""Token ids in arrays are read like the lists of tuples that they replace."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from captune.data.record_store import store_records
from captune.records import CaptionRecord
from captune.training.batches.token_rows import ImageIds, TokenRows

ROWS = [[(1, 2, 3), (4,)], [(5, 6)], [], [(7, 8, 9, 30_521), (), (2,)]]


def test_rows_are_read_back_unchanged():
    rows = TokenRows.of(iter(ROWS))
    assert list(rows) == ROWS
    assert [rows[place] for place in (-4, 1, -1)] == [ROWS[-4], ROWS[1], ROWS[-1]]
    assert rows[1:] == ROWS[1:]
    assert rows.row_lengths == [4, 2, 0, 5]
    assert rows.num_captions == 6
    assert list(pickle.loads(pickle.dumps(rows))) == ROWS
    with pytest.raises(IndexError):
        rows[4]


def test_an_empty_list_of_rows_has_no_images():
    rows = TokenRows.of([])
    assert (len(rows), rows.num_captions, rows.row_lengths) == (0, 0, [])


def test_ids_are_read_from_the_records():
    records = [CaptionRecord(name, Path(name)) for name in "abc"]
    ids = ImageIds(store_records(records))
    assert list(ids) == ["a", "b", "c"]
    assert ids[1:] == ["b", "c"]
