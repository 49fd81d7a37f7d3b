"""What a report and the plots of a run are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from captune.data import SkippedImage
from captune.evaluation.compare import Evaluation
from captune.evaluation.report.training_log import TrainingLog
from captune.evaluation.verdict import Occasion
from captune.recipe import GenerateConfig
from captune.records import CaptionRecord, Prediction

GALLERY_SIZE = 60
"""Images in a gallery: about 2 MB of thumbnails."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the run facts.

    Attributes:
        label: What it is, such as `Hardware`.
        value: What it was.
        is_code: Shown in a fixed-width font, such as a command.
    """

    label: str
    value: str
    is_code: bool = False


@dataclass(frozen=True)
class ReportInputs:
    """A run, scored.

    Attributes:
        title: Name of the run.
        description: One sentence about it, may be empty.
        records: The scored images with their human captions.
        after: Captions of the tuned model.
        evaluation: What `score_run` gave.
        generate: How captions were decoded.
        seed: Draws the random part of the gallery.
        before: Captions of the model before training; `None` where it was not run.
        training_records: Where samples.png takes its images; empty: from `records`.
        log: Training curves; empty where nothing was trained.
        facts: Hardware, versions, seed, command, times.
        skipped: Images that could not be used.
        extra: More figures about the tuned model by name, such as `truth_rate`.
        gallery_size: Images in the gallery at most.
        occasion: A training run, or a model beside a baseline; chooses the words.
        picked_on: The split that picked the checkpoint; `None` where none did.
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
