"""Caption metrics without Java and without torch: strings in, numbers out."""

from captune.metrics.bootstrap import (
    SIGNIFICANCE,
    PairedTest,
    bootstrap_intervals,
    draw_counts,
    paired_bootstrap,
)
from captune.metrics.caption_files import (
    naming_file,
    read_predicted_captions,
    read_references,
    read_samples,
)
from captune.metrics.compute_metrics import (
    compute,
    list_skipped,
    require_metrics,
    resolve_metrics,
)
from captune.metrics.counting.frequencies import DocumentFrequencies
from captune.metrics.counting.references import References
from captune.metrics.counting.scripts import Scripts, measure_scripts
from captune.metrics.counting.tokenizers import (
    DEFAULT_TOKENIZER,
    TOKENIZERS,
    require_tokenizer,
    tokenize_with,
)
from captune.metrics.match_ids import match_image_ids
from captune.metrics.metric_inputs import DEFAULT_CLIP_MODEL, ImageSet, MetricInputs
from captune.metrics.neural.clip import ClipScorer, compute_clip_score, embed_images_cached
from captune.metrics.results import MetricResults, Statistic
from captune.metrics.score_captions import score
from captune.metrics.score_images import find_image_files, read_image_names, read_objects
from captune.metrics.scores.cider import cider_rewards, self_cider
from captune.metrics.scores.diversity import constant_caption_baseline, measure_copied_share
from captune.metrics.scores.hallucination import (
    name_coco_objects,
    read_object_words,
    score_hallucination,
)
from captune.metrics.scores.samples import SampleDiversity, measure_samples
from captune.metrics.table import (
    DEFAULT_METRICS,
    METRIC_GROUPS,
    METRICS,
    Metric,
    is_lower_better,
)
from captune.records import TokenizerName

__all__ = [
    "DEFAULT_CLIP_MODEL",
    "DEFAULT_METRICS",
    "DEFAULT_TOKENIZER",
    "METRICS",
    "METRIC_GROUPS",
    "SIGNIFICANCE",
    "TOKENIZERS",
    "ClipScorer",
    "DocumentFrequencies",
    "ImageSet",
    "Metric",
    "MetricInputs",
    "MetricResults",
    "PairedTest",
    "References",
    "SampleDiversity",
    "Scripts",
    "Statistic",
    "TokenizerName",
    "bootstrap_intervals",
    "cider_rewards",
    "compute",
    "compute_clip_score",
    "constant_caption_baseline",
    "draw_counts",
    "embed_images_cached",
    "find_image_files",
    "is_lower_better",
    "list_skipped",
    "match_image_ids",
    "measure_copied_share",
    "measure_samples",
    "measure_scripts",
    "name_coco_objects",
    "naming_file",
    "paired_bootstrap",
    "read_image_names",
    "read_object_words",
    "read_objects",
    "read_predicted_captions",
    "read_references",
    "read_samples",
    "require_metrics",
    "require_tokenizer",
    "resolve_metrics",
    "score",
    "score_hallucination",
    "self_cider",
    "tokenize_with",
]
