"""Models in processes of their own: how they start, communicate and end.

A model that crashes or hangs costs its process, not the run or the server, which starts another.
"""

from captune.workers.child_side import MODEL_ERRORS, Link, Warned, harmless_error, open_link
from captune.workers.frames import receive, send
from captune.workers.load_model import load_here
from captune.workers.model_process import ModelProcess

__all__ = [
    "MODEL_ERRORS",
    "Link",
    "ModelProcess",
    "Warned",
    "harmless_error",
    "load_here",
    "open_link",
    "receive",
    "send",
]
