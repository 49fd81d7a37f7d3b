"""Where captions go: one collected form goes into the file that is named, several into a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from captune.bulk import BulkSettings, choose_outputs
from captune.errors import OutputError


def test_one_form_goes_into_the_named_file_whatever_its_extension(tmp_path: Path) -> None:
    out = tmp_path / "captions of 2026.final"
    plain = tmp_path / "captions"
    assert choose_outputs(BulkSettings(to=("jsonl",), out=out)).collected == (("jsonl", out),)
    assert choose_outputs(BulkSettings(to=("csv",), out=plain)).collected == (("csv", plain),)


def test_in_a_folder_that_exists_the_file_gets_a_name(tmp_path: Path) -> None:
    (tmp_path / "v1.0").mkdir()
    chosen = choose_outputs(BulkSettings(to=("jsonl",), out=tmp_path / "v1.0"))
    assert chosen.collected == (("jsonl", tmp_path / "v1.0" / "captions.jsonl"),)


def test_a_new_folder_is_made_where_the_name_ends_with_a_slash(tmp_path: Path) -> None:
    settings = BulkSettings(to=("jsonl",), out=tmp_path / "new", out_is_folder=True)
    assert choose_outputs(settings).collected == (("jsonl", tmp_path / "new" / "captions.jsonl"),)
    one = BulkSettings(to=("webdataset",), out=tmp_path / "new", out_is_folder=True)
    assert choose_outputs(one).collected == (("webdataset", tmp_path / "new"),)


def test_several_forms_go_into_a_folder(tmp_path: Path) -> None:
    chosen = choose_outputs(BulkSettings(to=("jsonl", "csv"), out=tmp_path / "all"))
    assert [path for _, path in chosen.collected] == [
        tmp_path / "all" / "captions.jsonl",
        tmp_path / "all" / "captions.csv",
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_device_as_output_is_reported_as_a_device() -> None:
    with pytest.raises(OutputError, match="/dev/full is a device"):
        choose_outputs(BulkSettings(to=("jsonl",), out=Path("/dev/full")))
