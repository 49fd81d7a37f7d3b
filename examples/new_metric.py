"""A metric of your own: the share of captions that name a colour.

    python examples/new_metric.py references.json predictions.json

A metric is one function: captions in, a `MetricColumn` out. The column holds a value per image, so
that captune's bootstrap gives it an interval and a paired test. To make it part of captune:

1. Put the function into `src/captune/metrics/scores/colours.py`.
2. Add one row to each table of `src/captune/metrics/table.py`:

       FAMILIES: "colours": MetricFamily(lambda candidates, _: score_colours(candidates)),
       METRICS:  "colour_share": Metric(
                     "colours", "Names a colour", (0.0, 1.0), "Share of captions with a colour."
                 ),

Then `captune score`, `evaluate`, `compare`, recipes, reports and cards know it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from captune.metrics import (
    References,
    bootstrap_intervals,
    read_predicted_captions,
    read_references,
)
from captune.metrics.counting.candidates import Candidates, match_predictions
from captune.metrics.results import MetricColumn, MetricResults, mean_column

COLOURS = {"black", "white", "red", "green", "blue", "yellow", "orange", "brown", "grey", "pink"}


def score_colours(candidates: Candidates) -> dict[str, MetricColumn]:
    """Score each caption 1 if it names a colour, else 0."""
    # Tokens are those of the field's metrics: lower case, without punctuation.
    values = [float(not COLOURS.isdisjoint(tokens)) for tokens in candidates.tokens]
    return {"colour_share": mean_column(np.array(values), variant="words:10")}


def measure(references: References, predictions: dict[str, str]) -> tuple[float, float, float]:
    """Return the share of captions that name a colour, and its 95 % interval."""
    (column,) = score_colours(match_predictions(references, predictions)).values()
    assert column.statistic is not None
    assert column.per_image is not None
    results = MetricResults(
        image_ids=references.image_ids,
        corpus={"colour_share": column.corpus},
        per_image={"colour_share": column.per_image},
        statistics={"colour_share": column.statistic},
        signatures={},
    )
    low, high = bootstrap_intervals(results)["colour_share"]
    return column.corpus, low, high


def main() -> None:
    references, predictions = map(Path, sys.argv[1:3])
    share, low, high = measure(
        References(read_references(references)), read_predicted_captions(predictions)
    )
    print(f"{share:.1%} of the captions name a colour (95 % interval {low:.1%} to {high:.1%})")


if __name__ == "__main__":
    main()
