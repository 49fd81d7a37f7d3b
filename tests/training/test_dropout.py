"""Packed dropout masks drop what plain dropout drops on average, and nothing else changes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from captune.training.dropout import PackedDropout, use_packed_dropout


@pytest.mark.parametrize("share", [0.02, 0.35, 0.9])
def test_the_dropped_share_and_the_scale_are_those_of_dropout(share: float) -> None:
    torch.manual_seed(0)
    out = PackedDropout(share)(torch.ones(1000, 1001))
    dropped = (out == 0).double().mean().item()
    # Six standard deviations of a million draws.
    assert abs(dropped - share) < 6 * (share * (1 - share) / out.numel()) ** 0.5
    assert set(out.unique().tolist()) == {0.0, torch.tensor(1 / (1 - share)).item()}


def test_neighbouring_units_are_dropped_independently() -> None:
    torch.manual_seed(0)
    kept = (PackedDropout(0.5)(torch.ones(400_000)) != 0).double() - 0.5
    for distance in (1, 2, 3, 4, 8):
        assert abs((kept[distance:] * kept[:-distance]).mean().item()) < 0.25 * 6 / 400_000**0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_goes_through_the_same_units(dtype: torch.dtype) -> None:
    inputs = torch.randn(7, 13, dtype=dtype).requires_grad_()
    out = PackedDropout(0.4)(inputs)
    out.sum().backward()
    assert out.dtype == dtype
    assert inputs.grad is not None
    assert torch.equal(inputs.grad == 0, out == 0)
    assert torch.allclose(out, inputs * inputs.grad)


@pytest.mark.parametrize(("share", "training"), [(0.0, True), (1.0, True), (0.5, False)])
def test_without_a_draw_it_is_plain_dropout(share: float, training: bool) -> None:
    plain, packed = nn.Dropout(share).train(training), PackedDropout(share).train(training)
    inputs = torch.randn(5, 3)
    assert torch.equal(plain(inputs), packed(inputs))


def test_the_random_state_decides_the_units() -> None:
    inputs = torch.ones(64)
    torch.manual_seed(3)
    first, second = PackedDropout(0.5)(inputs), PackedDropout(0.5)(inputs)
    torch.manual_seed(3)
    assert torch.equal(PackedDropout(0.5)(inputs), first)
    assert not torch.equal(first, second)


def test_every_dropout_of_a_model_is_turned_and_no_weight_changes() -> None:
    model = nn.Sequential(nn.Dropout(0.1), nn.TransformerEncoderLayer(8, 2, 16), nn.AlphaDropout())
    names = list(model.state_dict())
    assert use_packed_dropout(model) == 4
    assert use_packed_dropout(model) == 0
    assert list(model.state_dict()) == names
    assert type(model[2]) is nn.AlphaDropout
