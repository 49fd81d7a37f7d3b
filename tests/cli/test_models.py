"""`captune models`: families and sizes, with their numbers of parameters."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from captune.cli import main
from captune.models import ABOUT_FAMILIES, FAMILIES, SIZES, build_size, train_tokenizer
from captune.recipe import TokenizerConfig


def test_every_family_and_size_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["models", "--vocab-size", "100"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert all(f"\n{name} " in f"\n{printed}" for name in (*FAMILIES, *SIZES))
    assert list(ABOUT_FAMILIES) == list(FAMILIES)


def test_the_lists_do_not_wait_for_torch() -> None:
    script = "import sys; from captune.models import SIZES; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


LARGE = {"blip-large", "git-large", "swin-gpt2-base"}


@pytest.mark.parametrize(
    "size",
    [pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else []) for name in SIZES],
)
def test_the_listed_parameters_are_those_of_the_built_model(size: str) -> None:
    for words in ("red", "a red circle"):
        tokenizer = train_tokenizer([words], TokenizerConfig(min_count=1))
        with torch.device("meta"):
            captioner = build_size(size, tokenizer)
        counted = sum(parameter.numel() for parameter in captioner.model.parameters())
        assert SIZES[size].num_parameters(len(captioner.tokenizer)) == counted
