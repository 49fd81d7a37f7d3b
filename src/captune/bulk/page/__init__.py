"""The run page: speed, failures, captions to look over, and suspicious ones first."""

from captune.bulk.page.build import RunCounts, write_run_page
from captune.bulk.page.watch import RunWatch

__all__ = ["RunCounts", "RunWatch", "write_run_page"]
