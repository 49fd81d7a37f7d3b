"""The inputs of a run's report and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from captune.data import SkippedImage
from captune.evaluation.compare import AFTER, BEFORE, CONSTANT_CAPTION, Evaluation
from captune.evaluation.report.facts import Fact
from captune.evaluation.report.page import keep_lines
from captune.evaluation.report.training_log import TrainingLog
from captune.evaluation.verdict import Occasion
from captune.recipe import SAMPLING_SETTINGS, GenerateConfig, Recipe, dump_changed, hide_local_paths
from captune.records import CaptionRecord, Prediction

GALLERY_SIZE = 60
"""Images in a gallery: about 2 MB of thumbnails."""

SYSTEM_LABELS: Mapping[Occasion, Mapping[str, str]] = {
    "run": {BEFORE: "Before", AFTER: "After", CONSTANT_CAPTION: "Constant caption"},
    "evaluation": {BEFORE: "Baseline", AFTER: "Model", CONSTANT_CAPTION: "Constant caption"},
}
"""Names of the systems, in the order of columns and bars."""

_ONLY_SAMPLING = frozenset((*SAMPLING_SETTINGS, "seed"))


@dataclass(frozen=True, slots=True)
class HowMade:
    """The end of a page: how its captions and scores were made.

    Attributes:
        facts: Models, hardware, versions, command, times.
        settings: The settings of a run that differ from the defaults, as YAML; empty: none.
        decoding: The settings of decoding that have an effect.
        signature: The signature of all scores.
        signatures: That of each metric.
    """

    facts: Sequence[Fact]
    settings: Markup
    decoding: Sequence[Fact]
    signature: str
    signatures: Sequence[str]


def describe_origin(
    evaluation: Evaluation,
    facts: Sequence[Fact],
    *,
    generate: GenerateConfig,
    recipe: Recipe | None = None,
) -> HowMade:
    """Return how captions and scores were made.

    Args:
        evaluation: The scores.
        facts: Models, hardware, versions, command, times.
        generate: How captions were decoded.
        recipe: The recipe of a run, shown without local paths; `None`: there was none.
    """
    settings = "" if recipe is None else dump_changed(hide_local_paths(recipe)).strip()
    scores = list(evaluation.scores.values())
    unused = set() if generate.do_sample else set(_ONLY_SAMPLING)
    unused |= set() if generate.prompt else {"prompt"}
    return HowMade(
        facts,
        keep_lines(settings),
        [Fact(name, _setting(value)) for name, value in generate if name not in unused],
        evaluation.run_signature,
        list(scores[0].signatures.values()),
    )


def _setting(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return repr(value) if isinstance(value, str) else str(value)


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How a run can be repeated with other settings, for suggestions.

    Attributes:
        folder: The run's folder as the caller wrote it.
        recipe: Its recipe.
        data_problem: What the check found to clean in the data, in a sentence; empty if nothing.
        steps: Optimizer steps of the training; 0: unknown.
    """

    folder: str
    recipe: Recipe
    data_problem: str = ""
    steps: int = 0


@dataclass(frozen=True)
class ReportInputs:
    """A scored run.

    Attributes:
        title: Name of the run.
        description: One sentence about the run; may be empty.
        records: The scored images with their human captions.
        after: Captions of the tuned model.
        evaluation: Result of `score_run`.
        generate: How captions were decoded.
        seed: Seed of the random images in the gallery.
        before: Captions of the model before training; `None` if it was not run.
        training_records: Images for samples.png; if empty, `records` are used.
        log: Training curves; empty without training.
        facts: Hardware, versions, seed, command, times.
        skipped: Images that could not be used.
        extra: More figures about the tuned model by name, such as `truth_rate`.
        gallery_size: Maximum number of images in the gallery.
        occasion: A training run, or a model and its baseline; determines the wording.
        picked_on: The split that selected the checkpoint; `None` if no split did.
        best_step: Optimizer step of the weights that were scored; `None` if unknown.
        source: How to repeat the run; `None` outside of a run.
        data_check: Address of the page about the data, as seen from the report; empty: none.
        cautions: More reasons to doubt the scores, one sentence each, before those of the verdict.
    """

    title: str
    description: str
    records: Sequence[CaptionRecord]
    after: Sequence[Prediction]
    evaluation: Evaluation
    generate: GenerateConfig
    seed: int
    before: Sequence[Prediction] | None = None
    training_records: Sequence[CaptionRecord] = ()
    log: TrainingLog = field(default_factory=lambda: TrainingLog({}))
    facts: Sequence[Fact] = ()
    skipped: Sequence[SkippedImage] = ()
    extra: Mapping[str, float] = field(default_factory=dict)
    gallery_size: int = GALLERY_SIZE
    occasion: Occasion = "run"
    picked_on: str | None = None
    best_step: int | None = None
    source: RunSettings | None = None
    data_check: str = ""
    cautions: Sequence[str] = ()
