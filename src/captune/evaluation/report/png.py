"""Write matplotlib figures as PNG files, atomically."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.text import Text

from captune.data import find_fonts
from captune.storage import write_bytes


def save_figure(path: Path, figure: Figure, *, dots_per_inch: int = 110) -> None:
    """Write a figure as PNG.

    Raises:
        OutputError: The file cannot be written.
    """
    buffer = io.BytesIO()
    texts = figure.findobj(Text)
    families = [font.family for font in find_fonts(text.get_text() for text in texts)]
    for text in texts if families else ():
        text.set_fontfamily([*text.get_fontfamily(), *families])
    with warnings.catch_warnings():
        # Characters that no font has become boxes; a warning per glyph does not help.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        # Fixed metadata makes equal plots identical byte for byte.
        figure.savefig(buffer, format="png", dpi=dots_per_inch, metadata={"Software": "captune"})
    write_bytes(path, buffer.getvalue())
