"""A matplotlib figure as a PNG file that appears whole."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

from matplotlib.figure import Figure

from captune.storage import write_bytes


def save_figure(path: Path, figure: Figure, *, dots_per_inch: int = 110) -> None:
    """Write a figure as PNG.

    Raises:
        OutputError: The place cannot be written.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # Scripts that the built-in font lacks show as boxes; a warning a glyph helps nobody.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        # The fixed metadata keeps equal plots equal byte for byte.
        figure.savefig(buffer, format="png", dpi=dots_per_inch, metadata={"Software": "captune"})
    write_bytes(path, buffer.getvalue())
