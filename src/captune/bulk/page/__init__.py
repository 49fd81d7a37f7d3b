"""The run page: speed, failures, a sample of captions, and suspicious captions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from captune.lazy_names import import_on_use

if TYPE_CHECKING:
    from captune.bulk.page.build import write_run_page
    from captune.bulk.page.of_run import RunPages, watch_run
    from captune.bulk.page.watch import RunCounts, RunWatch

__all__ = ["RunCounts", "RunPages", "RunWatch", "watch_run", "write_run_page"]

_HOMES = {
    "RunCounts": "captune.bulk.page.watch",
    "RunPages": "captune.bulk.page.of_run",
    "RunWatch": "captune.bulk.page.watch",
    "watch_run": "captune.bulk.page.of_run",
    "write_run_page": "captune.bulk.page.build",
}
__getattr__ = import_on_use(__name__, _HOMES)
