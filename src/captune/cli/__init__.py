"""The command line: `captune COMMAND`. Importing it loads no torch and no command."""

from captune.cli.app import FINISHED_WITH_FAILURES, main

__all__ = ["FINISHED_WITH_FAILURES", "main"]
