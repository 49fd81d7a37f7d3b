"""A recipe's stages, in order, each resumable: `run` does all of them in one call."""

from captune.pipeline.dry_run import dry_run
from captune.pipeline.plan import RunOptions
from captune.pipeline.processes import is_first_process
from captune.pipeline.run import run
from captune.pipeline.stage_record import STAGES, select_stages

__all__ = ["STAGES", "RunOptions", "dry_run", "is_first_process", "run", "select_stages"]
