"""What this machine does per second: training, captioning, data and scoring, beside its limit."""

from captune.benchmark.caption_subject import CaptionSubject, load_caption_subject
from captune.benchmark.captioning_speed import CaptioningSpeed, measure_captioning
from captune.benchmark.data_speed import DataSpeed, measure_data
from captune.benchmark.machine_limit import MachineLimit, Work, measure_limit
from captune.benchmark.operations import CaptionWork, count_captioning, count_operations
from captune.benchmark.scoring_speed import ScoringSpeed, measure_scoring
from captune.benchmark.subjects import has_random_text, load_subject, read_subjects
from captune.benchmark.training_speed import TrainingSpeed, measure_training

__all__ = [
    "CaptionSubject",
    "CaptionWork",
    "CaptioningSpeed",
    "DataSpeed",
    "MachineLimit",
    "ScoringSpeed",
    "TrainingSpeed",
    "Work",
    "count_captioning",
    "count_operations",
    "has_random_text",
    "load_caption_subject",
    "load_subject",
    "measure_captioning",
    "measure_data",
    "measure_limit",
    "measure_scoring",
    "measure_training",
    "read_subjects",
]
