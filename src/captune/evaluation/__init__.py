"""What captions are worth, and the evidence: scores, tests, files, plots and the report."""

from __future__ import annotations

from captune.evaluation.compare import (
    AFTER,
    BEFORE,
    CONSTANT_CAPTION,
    Evaluation,
    SystemPair,
    compare_systems,
    score_run,
)
from captune.evaluation.evaluate import ScoringOptions, describe_decoding, score_predictions
from captune.evaluation.plots import Picture, plot_grid, write_plots
from captune.evaluation.predict import choose_scored, predict
from captune.evaluation.predictions import read_predictions, write_predictions
from captune.evaluation.report import (
    ComparisonInputs,
    Fact,
    ReportInputs,
    write_comparison,
    write_report,
)
from captune.evaluation.score_files import (
    paired_section,
    scores_section,
    write_json,
    write_results_csv,
    write_scores_json,
)
from captune.evaluation.training_log import TrainingLog, read_training_log
from captune.evaluation.verdict import Verdict, judge_run

__all__ = [
    "AFTER",
    "BEFORE",
    "CONSTANT_CAPTION",
    "ComparisonInputs",
    "Evaluation",
    "Fact",
    "Picture",
    "ReportInputs",
    "ScoringOptions",
    "SystemPair",
    "TrainingLog",
    "Verdict",
    "choose_scored",
    "compare_systems",
    "describe_decoding",
    "judge_run",
    "paired_section",
    "plot_grid",
    "predict",
    "read_predictions",
    "read_training_log",
    "score_predictions",
    "score_run",
    "scores_section",
    "write_comparison",
    "write_json",
    "write_plots",
    "write_predictions",
    "write_report",
    "write_results_csv",
    "write_scores_json",
]
