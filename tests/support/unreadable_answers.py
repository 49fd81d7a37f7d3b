"""The entry of a process that answers with what is no message."""

from __future__ import annotations

import struct
import sys


def answer() -> None:
    """Write a frame whose content is not a pickle."""
    content = b"no pickle"
    sys.stdout.buffer.write(struct.pack(">I", len(content)) + content)
    sys.stdout.buffer.flush()
    sys.stdin.buffer.read()
