"""report.html and comparison.html: single, self-contained files."""

from __future__ import annotations

from captune.evaluation.report.build import write_report
from captune.evaluation.report.comparison import ComparisonInputs, write_comparison
from captune.evaluation.report.inputs import Fact, ReportInputs, RunSettings

__all__ = [
    "ComparisonInputs",
    "Fact",
    "ReportInputs",
    "RunSettings",
    "write_comparison",
    "write_report",
]
