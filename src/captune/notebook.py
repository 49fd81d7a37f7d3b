"""Show a run's report in a notebook, or a widget for captioning an image.

Written for ipywidgets 8, whose upload widget holds a tuple of files; version 7 held a dict.
"""

from __future__ import annotations

import html
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captune.data import decode_image
from captune.errors import CaptuneError, DataError, MissingExtraError
from captune.inference import LoadedCaptioner, load
from captune.text_safety import escape_markup

if TYPE_CHECKING:
    from IPython.display import HTML
    from PIL import Image

_SHOWN_SIDE = 420
"""Longer side of the displayed picture, in pixels."""


@dataclass(frozen=True, slots=True)
class Demo:
    """The widgets of `demo`; displayed if they are the last line of a cell.

    Attributes:
        upload: Upload button for one image.
        num_beams: 1 to 8.
        max_new_tokens: 8 to 48.
        button: Captions the image again with the sliders' values.
        picture: The image, upright and in RGB, as the model sees it.
        caption: The caption, or why the image cannot be captioned, as HTML.
        panel: The layout that holds all of them.
    """

    upload: Any
    num_beams: Any
    max_new_tokens: Any
    button: Any
    picture: Any
    caption: Any
    panel: Any

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.panel)


def demo(model: str | Path | LoadedCaptioner) -> Demo:
    """Build widgets that caption an uploaded image.

    Args:
        model: A folder, a hub id, or the result of `captune.load`.

    Raises:
        MissingExtraError: ipywidgets is not installed.
        ModelError: The model cannot be loaded.
    """
    widgets = _import_widgets()
    captioner = model if isinstance(model, LoadedCaptioner) else load(model)
    shown = _build(widgets)

    def caption_it(_: object) -> None:
        _caption(captioner, shown)

    shown.button.on_click(caption_it)
    shown.upload.observe(caption_it, names="value")
    return shown


def show_report(run: str | Path, *, height: int = 640) -> HTML:
    """Return the report of a run, displayed if it is the last line of a cell.

    The report is stored in the notebook, so that it is shown without the run's folder.

    Args:
        run: The run's folder.
        height: Height of the frame in pixels.

    Raises:
        DataError: The folder has no report.
        MissingExtraError: IPython is not installed.
    """
    report = Path(run) / "report.html"
    try:
        page = report.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(
            f"there is no report in {run}: {error.strerror}",
            fix="captune run RECIPE --only report writes it",
        ) from None
    try:
        from IPython.display import HTML
    except ImportError:
        raise MissingExtraError(
            "show_report needs IPython", fix='pip install "captune[notebook]"'
        ) from None
    # A frame at the start makes IPython advise its own class, which cannot store a page.
    return HTML(
        f'<div><iframe srcdoc="{html.escape(page)}" title="Report" width="100%" height="{height}"'
        ' style="border: 0"></iframe></div>'
    )


def _import_widgets() -> Any:
    try:
        import ipywidgets
    except ImportError:
        raise MissingExtraError(
            "the demo widget needs ipywidgets", fix='pip install "captune[notebook]"'
        ) from None
    return ipywidgets


def _build(widgets: Any) -> Demo:
    upload = widgets.FileUpload(accept="image/*", multiple=False, description="Image")
    beams = widgets.IntSlider(value=3, min=1, max=8, description="Beams")
    tokens = widgets.IntSlider(value=30, min=8, max=48, description="New tokens")
    button = widgets.Button(description="Caption", button_style="primary")
    picture = widgets.Image(format="png", layout=widgets.Layout(display="none"))
    caption = widgets.HTML()
    left = widgets.VBox([upload, beams, tokens, button])
    panel = widgets.HBox([left, widgets.VBox([picture, caption])])
    return Demo(upload, beams, tokens, button, picture, caption, panel)


def _caption(captioner: LoadedCaptioner, shown: Demo) -> None:
    if not shown.upload.value:
        shown.caption.value = "<i>choose an image first</i>"
        return
    content = bytes(shown.upload.value[0]["content"])
    shown.button.disabled = True
    shown.caption.value = "<i>captioning …</i>"
    try:
        image = decode_image(content)
        _show(image, shown)
        (prediction,) = captioner.caption(
            image,
            num_beams=shown.num_beams.value,
            max_new_tokens=shown.max_new_tokens.value,
        )
    except CaptuneError as error:
        shown.picture.layout.display = "none"
        shown.caption.value = f"<b>not captioned:</b> {escape_markup(error.what)}"
    else:
        shown.caption.value = f"<big>{escape_markup(prediction.caption)}</big>"
    finally:
        shown.button.disabled = False


def _show(image: Image.Image, shown: Demo) -> None:
    small = image.copy()
    small.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, format="PNG")
    shown.picture.value = buffer.getvalue()
    shown.picture.layout.display = ""
