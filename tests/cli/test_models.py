"""`captune models`: families and sizes, with counted parameters."""

from __future__ import annotations

import pytest

from captune.cli import main
from captune.cli.models import count_parameters
from captune.models import FAMILIES, SIZES, build_size, train_tokenizer
from captune.recipe import TokenizerConfig


def test_every_family_and_size_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["models", "--vocab-size", "100"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert all(f"\n{name} " in f"\n{printed}" for name in (*FAMILIES, *SIZES))


@pytest.mark.parametrize("size", ["blip-tiny", "git-tiny", "swin-gpt2-tiny"])
def test_the_count_without_weights_equals_that_of_the_built_model(size: str) -> None:
    tokenizer = train_tokenizer(["a red circle"], TokenizerConfig(min_count=1))
    model = build_size(size, tokenizer).model
    expected = sum(parameter.numel() for parameter in model.parameters())
    assert count_parameters(size, tokenizer) == expected
