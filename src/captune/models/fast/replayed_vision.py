"""The vision side for few images, replayed from a graph per number of images.

With one image, launching the operations of a ViT takes longer than computing them; with sixteen it
does not matter. So few images are padded to one of a few numbers, whose passes are recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from captune.hardware import Recorder, RepeatedWork

_SIZES = (1, 2, 4, 8)
"""Numbers of images whose passes are recorded."""

Encode = Callable[[torch.Tensor], torch.Tensor]
"""Returns vision states of model inputs, row by row."""


@dataclass(slots=True)
class _Pass:
    """A pass over a fixed number of images.

    Attributes:
        encode: Computes the states.
        inputs: Model inputs (B, ...).
        states: Vision states (B, S, D), after the first pass.
    """

    encode: Encode
    inputs: torch.Tensor
    states: torch.Tensor | None = None

    def run(self) -> None:
        """Compute the states of the inputs."""
        states = self.encode(self.inputs)
        if self.states is None:
            self.states = torch.empty_like(states)
        self.states.copy_(states)


@dataclass(slots=True)
class ReplayedVision:
    """Vision stages that are replayed for few images.

    Attributes:
        encode: Computes the states without a graph.
        recorder: The device.
    """

    encode: Encode
    recorder: Recorder
    _passes: dict[tuple[object, ...], tuple[_Pass, RepeatedWork]] = field(default_factory=dict)

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the vision states (B, S, D) of model inputs (B, ...)."""
        count = len(inputs)
        size = next((size for size in _SIZES if size >= count), None)
        if size is None or not count:
            return self.encode(inputs)
        key = (size, *inputs.shape[1:], inputs.dtype)
        if key not in self._passes:
            one = _Pass(self.encode, inputs.new_zeros((size, *inputs.shape[1:])))
            self._passes[key] = one, RepeatedWork(one.run, self.recorder, what="the vision encoder")
        one, work = self._passes[key]
        one.inputs[:count] = inputs
        work.run()
        assert one.states is not None
        # The next pass overwrites the states.
        return one.states[:count].clone()
