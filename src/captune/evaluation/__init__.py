"""The quality of captions: scores, tests, files, plots and the report.

Each name is imported on first use: scoring files needs neither torch nor plots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from captune.lazy_names import import_on_use

if TYPE_CHECKING:
    from captune.evaluation.caption_models import (
        CaptionedImages,
        ComputeOptions,
        Progress,
        caption_with,
        name_models,
    )
    from captune.evaluation.compare import (
        AFTER,
        BEFORE,
        CONSTANT_CAPTION,
        Evaluation,
        System,
        SystemPair,
        compare_systems,
        pair_all,
        score_run,
        score_systems,
    )
    from captune.evaluation.data_page import render_data_check
    from captune.evaluation.labels import (
        format_delta,
        format_share,
        format_test,
        format_value,
        metric_label,
        round_value,
    )
    from captune.evaluation.model_card import Origin, describe_model, write_model_card
    from captune.evaluation.outputs import check_output, write_comparison_files, write_evaluation
    from captune.evaluation.plots import Picture, plot_grid, write_plots
    from captune.evaluation.predict_records import choose_scored, predict
    from captune.evaluation.report import (
        ComparisonInputs,
        Fact,
        ReportInputs,
        RunSettings,
        write_comparison,
        write_report,
    )
    from captune.evaluation.report.drawing.charts import Scale, Series, draw_histogram, draw_lines
    from captune.evaluation.report.gallery.thumbnails import make_thumbnail, read_thumbnail
    from captune.evaluation.report.page import write_page
    from captune.evaluation.report.training_log import TrainingLog, read_training_log
    from captune.evaluation.report.words.caption_shapes import FrequentCaption
    from captune.evaluation.score_tables import (
        render_scores,
        score_lines,
        short_signature,
        shorten_signature,
    )
    from captune.evaluation.scoring.evaluation import (
        ScoringOptions,
        describe_decoding,
        score_against,
    )
    from captune.evaluation.scoring.run_facts import (
        command_fact,
        describe_seconds,
        evaluation_facts,
        software_facts,
    )
    from captune.evaluation.scoring.saved_scores import RunToScore, load_scores, save_scores
    from captune.evaluation.scoring.score_files import (
        describe_scores,
        image_rows,
        relative_name,
        scores_section,
        system_sections,
        write_results_csv,
        write_scores_json,
    )
    from captune.evaluation.scoring.scored_data import ScoredData, load_scored, select_scored
    from captune.evaluation.scoring.seen_images import warn_of_training_images
    from captune.evaluation.tables import TableStyle, TextTable, render_table
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
    "FrequentCaption",
    "Origin",
    "Picture",
    "Progress",
    "ReportInputs",
    "RunSettings",
    "RunToScore",
    "Scale",
    "ScoredData",
    "ScoringOptions",
    "Series",
    "System",
    "SystemPair",
    "TableStyle",
    "TextTable",
    "TrainingLog",
    "Verdict",
    "caption_with",
    "check_output",
    "choose_scored",
    "command_fact",
    "compare_systems",
    "describe_decoding",
    "describe_model",
    "describe_ranking",
    "describe_scores",
    "describe_seconds",
    "draw_histogram",
    "draw_lines",
    "evaluation_facts",
    "format_delta",
    "format_share",
    "format_test",
    "format_value",
    "image_rows",
    "judge_run",
    "load_scored",
    "load_scores",
    "make_thumbnail",
    "metric_label",
    "name_models",
    "pair_all",
    "plot_grid",
    "predict",
    "read_thumbnail",
    "read_training_log",
    "relative_name",
    "render_data_check",
    "render_scores",
    "render_table",
    "round_value",
    "save_scores",
    "score_against",
    "score_lines",
    "score_run",
    "score_systems",
    "scores_section",
    "select_scored",
    "short_signature",
    "shorten_signature",
    "software_facts",
    "system_sections",
    "warn_of_collapses",
    "warn_of_training_images",
    "write_comparison",
    "write_comparison_files",
    "write_evaluation",
    "write_model_card",
    "write_page",
    "write_plots",
    "write_report",
    "write_results_csv",
    "write_scores_json",
]

_HOMES = {
    "AFTER": "captune.evaluation.compare",
    "BEFORE": "captune.evaluation.compare",
    "CONSTANT_CAPTION": "captune.evaluation.compare",
    "CaptionedImages": "captune.evaluation.caption_models",
    "ComparisonInputs": "captune.evaluation.report",
    "ComputeOptions": "captune.evaluation.caption_models",
    "Evaluation": "captune.evaluation.compare",
    "Fact": "captune.evaluation.report",
    "Origin": "captune.evaluation.model_card",
    "Picture": "captune.evaluation.plots",
    "Progress": "captune.evaluation.caption_models",
    "ReportInputs": "captune.evaluation.report",
    "RunSettings": "captune.evaluation.report",
    "RunToScore": "captune.evaluation.scoring.saved_scores",
    "ScoredData": "captune.evaluation.scoring.scored_data",
    "ScoringOptions": "captune.evaluation.scoring.evaluation",
    "System": "captune.evaluation.compare",
    "SystemPair": "captune.evaluation.compare",
    "TableStyle": "captune.evaluation.tables",
    "TextTable": "captune.evaluation.tables",
    "TrainingLog": "captune.evaluation.report.training_log",
    "Verdict": "captune.evaluation.verdict",
    "caption_with": "captune.evaluation.caption_models",
    "check_output": "captune.evaluation.outputs",
    "choose_scored": "captune.evaluation.predict_records",
    "command_fact": "captune.evaluation.scoring.run_facts",
    "compare_systems": "captune.evaluation.compare",
    "describe_decoding": "captune.evaluation.scoring.evaluation",
    "describe_model": "captune.evaluation.model_card",
    "describe_ranking": "captune.evaluation.verdict",
    "describe_scores": "captune.evaluation.scoring.score_files",
    "describe_seconds": "captune.evaluation.scoring.run_facts",
    "evaluation_facts": "captune.evaluation.scoring.run_facts",
    "format_delta": "captune.evaluation.labels",
    "format_share": "captune.evaluation.labels",
    "format_test": "captune.evaluation.labels",
    "format_value": "captune.evaluation.labels",
    "image_rows": "captune.evaluation.scoring.score_files",
    "judge_run": "captune.evaluation.verdict",
    "load_scored": "captune.evaluation.scoring.scored_data",
    "load_scores": "captune.evaluation.scoring.saved_scores",
    "metric_label": "captune.evaluation.labels",
    "name_models": "captune.evaluation.caption_models",
    "pair_all": "captune.evaluation.compare",
    "plot_grid": "captune.evaluation.plots",
    "predict": "captune.evaluation.predict_records",
    "read_training_log": "captune.evaluation.report.training_log",
    "render_data_check": "captune.evaluation.data_page",
    "render_scores": "captune.evaluation.score_tables",
    "score_lines": "captune.evaluation.score_tables",
    "render_table": "captune.evaluation.tables",
    "round_value": "captune.evaluation.labels",
    "save_scores": "captune.evaluation.scoring.saved_scores",
    "score_against": "captune.evaluation.scoring.evaluation",
    "score_run": "captune.evaluation.compare",
    "score_systems": "captune.evaluation.compare",
    "select_scored": "captune.evaluation.scoring.scored_data",
    "relative_name": "captune.evaluation.scoring.score_files",
    "scores_section": "captune.evaluation.scoring.score_files",
    "short_signature": "captune.evaluation.score_tables",
    "shorten_signature": "captune.evaluation.score_tables",
    "software_facts": "captune.evaluation.scoring.run_facts",
    "system_sections": "captune.evaluation.scoring.score_files",
    "warn_of_collapses": "captune.evaluation.verdict",
    "warn_of_training_images": "captune.evaluation.scoring.seen_images",
    "write_comparison": "captune.evaluation.report",
    "write_comparison_files": "captune.evaluation.outputs",
    "write_evaluation": "captune.evaluation.outputs",
    "write_model_card": "captune.evaluation.model_card",
    "write_plots": "captune.evaluation.plots",
    "write_report": "captune.evaluation.report",
    "write_results_csv": "captune.evaluation.scoring.score_files",
    "write_scores_json": "captune.evaluation.scoring.score_files",
    "FrequentCaption": "captune.evaluation.report.words.caption_shapes",
    "Scale": "captune.evaluation.report.drawing.charts",
    "Series": "captune.evaluation.report.drawing.charts",
    "draw_histogram": "captune.evaluation.report.drawing.charts",
    "draw_lines": "captune.evaluation.report.drawing.charts",
    "make_thumbnail": "captune.evaluation.report.gallery.thumbnails",
    "read_thumbnail": "captune.evaluation.report.gallery.thumbnails",
    "write_page": "captune.evaluation.report.page",
}

__getattr__ = import_on_use(__name__, _HOMES)
