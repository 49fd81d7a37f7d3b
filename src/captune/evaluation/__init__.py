"""What captions are worth, and the evidence: scores, tests, files, plots and the report."""

from __future__ import annotations

from captune.evaluation.caption_with import (
    CaptionedImages,
    ComputeOptions,
    Progress,
    caption_with,
    find_model,
    name_models,
)
from captune.evaluation.compare import (
    AFTER,
    BEFORE,
    CONSTANT_CAPTION,
    Evaluation,
    SystemPair,
    compare_systems,
    score_run,
)
from captune.evaluation.labels import format_delta, format_test, format_value, metric_label
from captune.evaluation.model_card import Origin, describe_model, write_model_card
from captune.evaluation.outputs import check_output, write_comparison_files, write_evaluation
from captune.evaluation.plots import Picture, plot_grid, write_plots
from captune.evaluation.predict import choose_scored, predict
from captune.evaluation.report import (
    ComparisonInputs,
    Fact,
    ReportInputs,
    write_comparison,
    write_report,
)
from captune.evaluation.report.training_log import TrainingLog, read_training_log
from captune.evaluation.scoring.evaluation import ScoringOptions, describe_decoding
from captune.evaluation.scoring.run_facts import (
    command_fact,
    describe_seconds,
    evaluation_facts,
    software_facts,
)
from captune.evaluation.scoring.saved_scores import RunToScore, load_scores, save_scores
from captune.evaluation.scoring.score_files import (
    comparison_section,
    paired_section,
    scores_section,
    system_sections,
    write_results_csv,
    write_scores_json,
)
from captune.evaluation.scoring.scored_data import ScoredData, load_scored, select_scored
from captune.evaluation.verdict import Verdict, describe_ranking, judge_run, warn_of_collapses

__all__ = [
    "AFTER",
    "BEFORE",
    "CONSTANT_CAPTION",
    "CaptionedImages",
    "ComparisonInputs",
    "ComputeOptions",
    "Evaluation",
    "Fact",
    "Origin",
    "Picture",
    "Progress",
    "ReportInputs",
    "RunToScore",
    "ScoredData",
    "ScoringOptions",
    "SystemPair",
    "TrainingLog",
    "Verdict",
    "caption_with",
    "check_output",
    "choose_scored",
    "command_fact",
    "compare_systems",
    "comparison_section",
    "describe_decoding",
    "describe_model",
    "describe_ranking",
    "describe_seconds",
    "evaluation_facts",
    "find_model",
    "format_delta",
    "format_test",
    "format_value",
    "judge_run",
    "load_scored",
    "load_scores",
    "metric_label",
    "name_models",
    "paired_section",
    "plot_grid",
    "predict",
    "read_training_log",
    "save_scores",
    "score_run",
    "scores_section",
    "select_scored",
    "software_facts",
    "system_sections",
    "warn_of_collapses",
    "write_comparison",
    "write_comparison_files",
    "write_evaluation",
    "write_model_card",
    "write_plots",
    "write_report",
    "write_results_csv",
    "write_scores_json",
]
