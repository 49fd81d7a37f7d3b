"""Check that two runs end with the same weights."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file


def model_file(run: Path) -> Path:
    """Return the weights of a run's best model."""
    return run / "model" / "model.safetensors"


def newest_checkpoint_file(run: Path) -> Path:
    """Return the weights of a run's newest checkpoint, as the loop writes them."""
    newest = sorted((run / "checkpoints").glob("step-*"))[-1]
    return newest / "weights.safetensors"


def assert_same_weights(actual: Path, expected: Path, *, tolerance: float = 0.0) -> None:
    """Compare two safetensors files, weight by weight.

    Args:
        actual: One file.
        expected: The other one.
        tolerance: Maximum absolute difference; 0: bit for bit.
    """
    ours, theirs = load_file(actual), load_file(expected)
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        assert (weight.shape, weight.dtype) == (theirs[name].shape, theirs[name].dtype), name
        difference = float((weight - theirs[name]).abs().max())
        assert difference <= tolerance, f"{name}: a difference of {difference:g}"
