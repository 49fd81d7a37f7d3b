"""What `captune export` prints."""

from __future__ import annotations

from captune.cli.export import describe_difference


def test_scores_are_written_as_by_the_other_commands() -> None:
    scores = {"model": 0.98765, "exported": 0.9, "difference": -0.08765, "interval": [-0.1, 1e-6]}
    assert describe_difference("bleu_4", scores) == (
        "BLEU-4: 0.988 -> 0.900 (difference −0.088, 95 % interval −0.100 to ±0.000)"
    )
