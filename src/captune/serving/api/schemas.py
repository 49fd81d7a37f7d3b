"""The answers of the routes, as JSON."""

from __future__ import annotations

import math
from typing import Any

from captune.records import Prediction
from captune.serving.errors import ApiError


def caption_answer(model: str, outcomes: list[Any]) -> dict[str, Any]:
    """Return the answer to `POST /v1/caption`."""
    return {"schema": 1, "model": model, "results": [_result(outcome) for outcome in outcomes]}


def _result(outcome: tuple[Prediction, ...] | ApiError) -> dict[str, Any]:
    if isinstance(outcome, ApiError):
        return {"error": {"code": outcome.code, "message": outcome.message}}
    first, *others = outcome
    return {
        "caption": first.caption,
        "mean_logprob": _finite(first.mean_logprob),
        "alternatives": [
            {"caption": other.caption, "mean_logprob": _finite(other.mean_logprob)}
            for other in others
        ],
        "finish_reason": first.finish_reason,
        "flags": list(first.flags),
    }


def _finite(value: float) -> float | None:
    """Return the value; `None` for NaN and infinities, which JSON cannot represent."""
    return value if math.isfinite(value) else None
