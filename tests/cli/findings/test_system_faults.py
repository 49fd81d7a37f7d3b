"""Errors of the system name the file that the user knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from captune.cli.findings.system_faults import describe_os_error


def test_an_error_of_replacing_a_file_names_it_and_not_its_temporary(tmp_path: Path) -> None:
    (tmp_path / "cache.npy").mkdir()
    (tmp_path / ".cache.npy.part").write_bytes(b"")
    with pytest.raises(OSError) as caught:
        (tmp_path / ".cache.npy.part").replace(tmp_path / "cache.npy")
    assert describe_os_error(caught.value).endswith(f"{tmp_path / 'cache.npy'}")
    with pytest.raises(FileNotFoundError) as missing:
        (tmp_path / "a.json").read_bytes()
    assert describe_os_error(missing.value).endswith(f"{tmp_path / 'a.json'}")
