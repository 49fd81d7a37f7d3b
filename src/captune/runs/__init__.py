"""An overview of runs: a table for the terminal, and one page that compares any two of them.

Each name is imported on first use: a table needs neither numpy nor the report's templates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from captune.lazy_names import import_on_use

if TYPE_CHECKING:
    from captune.runs.page import is_runs_page, write_runs_page
    from captune.runs.run_search import search_runs
    from captune.runs.run_table import list_runs, list_runs_briefly
    from captune.runs.saved_run import SavedRun, read_saved_run

__all__ = [
    "SavedRun",
    "is_runs_page",
    "list_runs",
    "list_runs_briefly",
    "read_saved_run",
    "search_runs",
    "write_runs_page",
]

_HOMES = {
    "SavedRun": "captune.runs.saved_run",
    "search_runs": "captune.runs.run_search",
    "is_runs_page": "captune.runs.page",
    "list_runs": "captune.runs.run_table",
    "list_runs_briefly": "captune.runs.run_table",
    "read_saved_run": "captune.runs.saved_run",
    "write_runs_page": "captune.runs.page",
}
__getattr__ = import_on_use(__name__, _HOMES)
