"""How much each image gained or lost: a histogram around zero whose bars filter the gallery."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from markupsafe import Markup

from captune.evaluation.report.drawing.axes import Axis, linear_axis
from captune.evaluation.report.drawing.charts import (
    PLOT,
    draw_bar,
    draw_grid,
    frame_chart,
)

_NUM_BINS = 25


def draw_gains(gains: Sequence[float], *, label: str) -> Markup:
    """Draw the number of images by gain; empty without two different gains.

    Args:
        gains: Gain per image, positive is better; NaN: unknown.
        label: Name of the score that is gained.
    """
    known = [gain for gain in gains if math.isfinite(gain)]
    if len({round(gain, 6) for gain in known}) < 2:
        return Markup("")
    # The rarest one per cent at both ends share the outer bars.
    sizes = sorted(abs(gain) for gain in known)
    reach = sizes[min(len(sizes) - 1, int(0.99 * len(sizes)))] or sizes[-1]
    width = linear_axis([0.0, 2 * reach], start=0, end=1, num_ticks=_NUM_BINS).ticks[1]
    last = max(1, math.ceil(reach / width - 0.5))
    counts = Counter(max(-last, min(last, round(gain / width))) for gain in known)
    x_axis = Axis(
        -(last + 0.5) * width,
        (last + 0.5) * width,
        PLOT.left,
        PLOT.right,
        tuple(n * width for n in range(-last, last + 1, max(1, last // 3))),
    )
    y_axis = linear_axis([0.0, max(counts.values())], start=PLOT.bottom, end=PLOT.top)
    body = [draw_grid(x_axis, y_axis, x_label=f"change of {label} per image")]
    readout = []
    for number in range(-last, last + 1):
        kind = "good" if number > 0 else "bad" if number < 0 else "same"
        low, high = (number - 0.5) * width, (number + 0.5) * width
        body.append(
            draw_bar(
                (x_axis.place(low), x_axis.place(high)), y_axis, value=counts[number], kind=kind
            )
        )
        readout.append(_describe(number, counts[number], x_axis, width=width, last=last))
    title = f"Number of images by their change of {label}"
    return frame_chart(body, title=title, readout=readout)


def _describe(
    number: int, count: int, x_axis: Axis, *, width: float, last: int
) -> dict[str, object]:
    low = "" if number == -last else f"{(number - 0.5) * width:.6g}"
    high = "" if number == last else f"{(number + 0.5) * width:.6g}"
    shown = f"{number * width:+.3g}".replace("-", "−") if number else "about 0"
    outer = " or less" if number == -last else " or more" if number == last else ""
    return {
        "x": round(x_axis.place(number * width), 1),
        "label": f"{shown}{outer}",
        "rows": [["images", f"{count:,}"]],
        "filter": f"gain={low}:{high}",
    }
