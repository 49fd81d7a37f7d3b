"""The Markdown tables of `docs/performance.md`, from the JSON of `benchmarks/compare.py`."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import Any

from comparison.plan import ROWS, UNITS

INT8 = "-int8"


def render(content: dict[str, Any]) -> str:
    """Return one table per model, ratios first, under a line that names the machine."""
    runs = content["runs"]
    lines = [f"{content['machine']}; {content['date']}; medians of {count_turns(runs)}.", ""]
    if content.get("limit"):
        lines += [f"The machine's limit in the same run: {content['limit']}.", ""]
    for model in dict.fromkeys(run["model"] for run in runs):
        lines += render_model(model, [run for run in runs if run["model"] == model])
    return "\n".join(lines).rstrip() + "\n"


def render_model(model: str, runs: list[dict[str, Any]]) -> list[str]:
    rates = find_medians(runs)
    shares = find_shares(runs)
    lines = [
        f"**{model}**",
        "",
        "| against notebooks | against plain transformers | work | captune | plain | notebooks |"
        " share of the limit |",
        "|---|---|---|---|---|---|---|",
    ]
    for row, about in ROWS.items():
        own = rates.get((row, "captune"))
        if own is None:
            continue
        base = row.removesuffix(INT8)
        plain, notebook = (rates.get((base, side)) for side in ("plain", "notebook"))
        share = shares.get(row)
        cells = (
            ratio(own, notebook),
            ratio(own, plain),
            f"{about}, {UNITS[row.partition('-')[0]]}",
            *(show(rate) for rate in (own, plain, notebook)),
            "" if share is None else f"{100 * share:.0f} %",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def find_medians(runs: list[dict[str, Any]]) -> dict[tuple[str, str], float]:
    rates: dict[tuple[str, str], list[float]] = defaultdict(list)
    for run in runs:
        for row, rate in run["rates"].items():
            rates[row, run["side"]].append(rate)
    return {key: statistics.median(values) for key, values in rates.items()}


def find_shares(runs: list[dict[str, Any]]) -> dict[str, float]:
    shares: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        for row in run["rates"]:
            own = run["details"].get(row, run["details"])
            share = own.get("share_of_limit") if isinstance(own, dict) else None
            if share is not None and row != "latency":
                shares[row].append(share)
    return {row: statistics.median(values) for row, values in shares.items()}


def count_turns(runs: list[dict[str, Any]]) -> int:
    return 1 + max((run["turn"] for run in runs), default=0)


def ratio(own: float, other: float | None) -> str:
    return "" if not other else f"**{own / other:.3g}x**"


def show(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.3g}"
