"""Packed dropout drops as much as plain dropout on average, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from torch import nn
from transformers.models.gpt2 import modeling_gpt2

from captune.training.steps import dropout as dropout_module
from captune.training.steps.dropout import PackedDropout, use_packed_dropout
from support.runs.forks import run_script


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


def test_the_random_state_determines_the_units() -> None:
    inputs = torch.ones(64)
    torch.manual_seed(3)
    first, second = PackedDropout(0.5)(inputs), PackedDropout(0.5)(inputs)
    torch.manual_seed(3)
    assert torch.equal(PackedDropout(0.5)(inputs), first)
    assert not torch.equal(first, second)


def test_every_dropout_of_a_model_is_replaced_and_no_weight_changes() -> None:
    model = nn.Sequential(nn.Dropout(0.1), nn.TransformerEncoderLayer(8, 2, 16), nn.AlphaDropout())
    names = list(model.state_dict())
    assert use_packed_dropout(model) == 4
    assert use_packed_dropout(model) == 0
    assert list(model.state_dict()) == names
    assert type(model[2]) is nn.AlphaDropout


def _pair(kind: str, dropout: float) -> transformers.VisionEncoderDecoderModel:
    torch.manual_seed(0)
    sizes = {"vocab_size": 30, "is_decoder": True, "add_cross_attention": True}
    text = {
        "gpt2": transformers.GPT2Config(
            **sizes, n_embd=16, n_layer=2, n_head=2, attn_pdrop=dropout, embd_pdrop=0, resid_pdrop=0
        ),
        "bert": transformers.BertConfig(
            **sizes,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=16,
            hidden_dropout_prob=0,
            attention_probs_dropout_prob=dropout,
        ),
    }[kind]
    decoder = transformers.AutoModelForCausalLM.from_config(text, attn_implementation="eager")
    vision = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
    )
    encoder = transformers.AutoModel.from_config(vision, attn_implementation="eager")
    return transformers.VisionEncoderDecoderModel(encoder=encoder, decoder=decoder)


def _logits(model: transformers.VisionEncoderDecoderModel) -> torch.Tensor:
    ids = torch.arange(12).view(2, 6)
    pixels = torch.linspace(-1, 1, 2 * 3 * 32 * 32).view(2, 3, 32, 32)
    logits: torch.Tensor = model(pixel_values=pixels, decoder_input_ids=ids).logits
    return logits


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_a_decoder_attends_as_before_when_nothing_is_dropped(kind: str) -> None:
    plain, packed = _pair(kind, 0.0).train(), _pair(kind, 0.0).train()
    use_packed_dropout(packed)
    assert packed.decoder.config._attn_implementation != "eager"
    torch.testing.assert_close(_logits(packed), _logits(plain), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_a_decoders_attention_is_dropped_in_training_only(kind: str) -> None:
    plain, packed = _pair(kind, 0.5), _pair(kind, 0.5)
    use_packed_dropout(packed)
    torch.testing.assert_close(_logits(packed.eval()), _logits(plain.eval()), rtol=0, atol=1e-6)
    assert not torch.allclose(_logits(packed.train()), _logits(plain.eval()))


def test_attention_drops_as_much_as_transformers_does_on_average() -> None:
    query, key, value = torch.randn(3, 4, 5, 60, 8).unbind()
    mask = torch.zeros(60, 60).masked_fill_(~torch.ones(60, 60, dtype=torch.bool).tril(), -1e9)
    layer = nn.Identity().train()
    arguments = (layer, query, key, value, mask)
    kept, slow = (
        attend(*arguments, dropout=0.3)[1] != 0
        for attend in (dropout_module._attention, modeling_gpt2.eager_attention_forward)
    )
    lower = mask == 0
    share = 1 - kept[..., lower].double().mean().item()
    assert abs(share - 0.3) < 6 * (0.3 * 0.7 / kept[..., lower].numel()) ** 0.5
    assert not kept[..., ~lower].any()
    assert abs(share - (1 - slow[..., lower].double().mean().item())) < 0.02


def test_a_saved_folder_does_not_mention_packed_dropout(tmp_path: Path) -> None:
    model = _pair("gpt2", 0.5)
    use_packed_dropout(model)
    model.save_pretrained(tmp_path)
    assert "packed" not in (tmp_path / "config.json").read_text(encoding="utf-8")
    assert transformers.VisionEncoderDecoderModel.from_pretrained(tmp_path)


@pytest.mark.slow
def test_the_attention_is_registered_only_when_a_model_uses_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from transformers import AttentionInterface\n"
        "import captune.training, captune.training.steps.dropout as dropout\n"
        "assert dropout._ATTENTION not in AttentionInterface().keys()\n"
    )
    # The processes from which it is forked have imported captune, and used nothing of it.
    process = run_script(script)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
