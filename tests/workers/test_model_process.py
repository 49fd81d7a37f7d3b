"""A process with a model: its end is always reported."""

from __future__ import annotations

import queue
from typing import Any

import pytest

from captune.workers import ModelProcess


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_answers_that_cannot_be_read_end_the_process_for_its_parent():
    messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
    process = ModelProcess("support.unreadable_answers:answer", messages.put)
    try:
        assert messages.get(timeout=20) is None
    finally:
        process.close()
