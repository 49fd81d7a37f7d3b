"""The machine's limit, and the counted operations that are compared with it."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from captune.benchmark import MachineLimit, Work, count_captioning, count_operations, measure_limit
from captune.hardware import choose_hardware
from support.models import tiny_models


def test_phases_follow_each_other_and_within_one_the_slower_resource_decides() -> None:
    limit = MachineLimit("fp32", operations_per_s=100.0, bytes_per_s=10.0)
    computing = Work(operations=200.0, bytes_moved=5.0)  # 2 s and 0.5 s
    reading = Work(operations=50.0, bytes_moved=30.0)  # 0.5 s and 3 s
    assert limit.least_seconds(computing, reading) == pytest.approx(5.0)


@pytest.mark.slow
def test_a_measured_limit_is_a_plausible_speed() -> None:
    limit = measure_limit(choose_hardware("cpu", "fp32"), seconds=0.05)
    # Between a microcontroller and a supercomputer.
    assert 1e8 < limit.operations_per_s < 1e16
    assert 1e7 < limit.bytes_per_s < 1e14
    assert "GFLOP/s of matrix products in fp32" in limit.describe()


def test_products_of_weights_and_of_keys_are_counted_separately() -> None:
    weights, keys = count_operations(
        lambda: (torch.ones(3, 5) @ torch.ones(5, 7), torch.ones(2, 3, 5) @ torch.ones(2, 5, 7))
    )
    assert weights == 2 * 3 * 5 * 7
    assert keys == 2 * 2 * 3 * 5 * 7


def test_fused_attention_on_the_cpu_is_counted_as_its_two_products() -> None:
    query, key = torch.rand(1, 2, 3, 8), torch.rand(1, 2, 5, 8)
    weights, keys = count_operations(
        lambda: functional.scaled_dot_product_attention(query, key, key)
    )
    assert (weights, keys) == (0, 2 * (2 * 2 * 3 * 5 * 8))


def test_a_step_reads_each_weight_and_each_key_once() -> None:
    captioner = tiny_models.build("blip-tiny")
    work = count_captioning(captioner, tiny_models.noise_pixels(1))
    width, layers, vocabulary = 128, 3, captioner.model.config.text_config.vocab_size
    # Self-attention 4, cross-attention 2 (its keys are cached), feed-forward 8; then the head.
    assert work.step_weights == layers * 14 * width**2 + width**2 + width * vocabulary
    # 16 patches and a class token, keys and values; 2 text tokens (the start and the new one).
    assert work.step_keys == layers * 2 * width * (17 + 2)


def test_beams_multiply_operations_but_not_what_a_step_reads() -> None:
    work = count_captioning(tiny_models.build("blip-tiny"), tiny_models.noise_pixels(1))
    one, five = (
        work.phases(batch_size=4, beams=beams, tokens=20, bytes_per_value=2)[1] for beams in (1, 5)
    )
    assert five.operations == 5 * one.operations
    assert five.bytes_moved == one.bytes_moved
    assert one.bytes_moved == 19 * 2 * (work.step_weights / 4 + work.step_keys)
