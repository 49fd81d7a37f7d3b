"""report.html and comparison.html: one file each, everything inside."""

from __future__ import annotations

from captune.evaluation.report.build import write_report
from captune.evaluation.report.inputs import Fact, ReportInputs

__all__ = ["Fact", "ReportInputs", "write_report"]
