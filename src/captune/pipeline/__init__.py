"""A recipe's stages, in order, each resumable: `run` is the whole of captune in one call."""

from captune.pipeline.run import RunOptions, run
from captune.pipeline.stages import STAGES, select_stages

__all__ = ["STAGES", "RunOptions", "run", "select_stages"]
