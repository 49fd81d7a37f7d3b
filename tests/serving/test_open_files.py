"""The limit of open files, in processes of their own, whose limits they may change."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("resource", reason="Windows has no such limit")

_CODE = """
import resource
from captune.serving.access.open_files import find_room
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
print(*find_room(1000, 2048), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "expected"),
    [
        (1024, 4096, "1000 2048 3304"),
        (1024, 1024, "512 256 1024"),
        (100, 200, "100 50 200"),
        (4000, 4000, "1000 2048 4000"),
    ],
)
def test_there_are_files_for_all_connections_or_fewer_connections(soft, hard, expected):
    code = _CODE.format(soft=soft, hard=hard)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == expected
