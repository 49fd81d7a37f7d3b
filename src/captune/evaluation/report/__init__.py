"""report.html and comparison.html: single, self-contained files.

Each name is imported on first use: the pages of other packages need only the design.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from captune.lazy_names import import_on_use

if TYPE_CHECKING:
    from captune.evaluation.report.build import write_report
    from captune.evaluation.report.comparison import ComparisonInputs, write_comparison
    from captune.evaluation.report.facts import Fact
    from captune.evaluation.report.inputs import ReportInputs, RunSettings

__all__ = [
    "ComparisonInputs",
    "Fact",
    "ReportInputs",
    "RunSettings",
    "write_comparison",
    "write_report",
]

_HOMES = {
    "ComparisonInputs": "captune.evaluation.report.comparison",
    "Fact": "captune.evaluation.report.facts",
    "ReportInputs": "captune.evaluation.report.inputs",
    "RunSettings": "captune.evaluation.report.inputs",
    "write_comparison": "captune.evaluation.report.comparison",
    "write_report": "captune.evaluation.report.build",
}
__getattr__ = import_on_use(__name__, _HOMES)
