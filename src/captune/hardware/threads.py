"""How the threads of a computation wait for each other."""

from __future__ import annotations

import os

_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def let_waiting_threads_sleep() -> None:
    """Let OpenMP's threads sleep while they wait for each other, in this process and its children.

    By default they spin. That gains some per cent on an idle machine; but as soon as another
    program uses a core, the threads of every product spin until the system runs their late sibling,
    and training takes four to five times as long instead of one and a half (`docs/log.md`).

    This has an effect only before torch is imported. What the user has set is kept.
    """
    if not any(name in os.environ for name in _SETTINGS):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
