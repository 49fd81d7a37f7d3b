"""The entry of the `captune` script, and of `python -m captune` where the script is not found."""

from __future__ import annotations

import signal


def start() -> None:
    """Run the command line.

    Before it handles signals, while it is imported, and after the command, while Python exits,
    nothing can be lost: Ctrl-C ends the process there as the system does, where Python's own
    handler would print a traceback.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from captune.cli import main

    main()


if __name__ == "__main__":
    start()
