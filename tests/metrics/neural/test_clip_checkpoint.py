"""PAC-S's weights in OpenAI's format give the same model as a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import CLIPModel

from captune.errors import ModelError
from captune.metrics.neural.clip import ClipScorer
from captune.metrics.neural.clip_checkpoint import load_clip_checkpoint
from support.models.tiny_clip import TOKENS, name_like_openai, save_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"), width=128, layers=2)


def openai_block(
    states: torch.Tensor, weights: dict[str, torch.Tensor], *, block: str, mask: torch.Tensor | None
) -> torch.Tensor:
    """A residual attention block as in OpenAI's code, with torch's attention."""

    def part(name: str) -> torch.Tensor:
        return weights[f"{block}.{name}"]

    def normal(values: torch.Tensor, name: str) -> torch.Tensor:
        shape = (values.shape[-1],)
        return torch.nn.functional.layer_norm(
            values, shape, part(f"{name}.weight"), part(f"{name}.bias")
        )

    width = states.shape[-1]
    attention = torch.nn.MultiheadAttention(width, width // 64, batch_first=True)
    attention.load_state_dict(
        {
            "in_proj_weight": part("attn.in_proj_weight"),
            "in_proj_bias": part("attn.in_proj_bias"),
            "out_proj.weight": part("attn.out_proj.weight"),
            "out_proj.bias": part("attn.out_proj.bias"),
        }
    )
    inner = normal(states, "ln_1")
    states = states + attention(inner, inner, inner, need_weights=False, attn_mask=mask)[0]
    inner = torch.nn.functional.linear(
        normal(states, "ln_2"), part("mlp.c_fc.weight"), part("mlp.c_fc.bias")
    )
    inner = inner * torch.sigmoid(1.702 * inner)
    return states + torch.nn.functional.linear(
        inner, part("mlp.c_proj.weight"), part("mlp.c_proj.bias")
    )


def openai_text(ids: torch.Tensor, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    length = ids.shape[1]
    states = weights["token_embedding.weight"][ids] + weights["positional_embedding"][:length]
    mask = torch.full((length, length), float("-inf")).triu(1)
    for place in range(2):
        states = openai_block(states, weights, block=f"transformer.resblocks.{place}", mask=mask)
    shape = (states.shape[-1],)
    states = torch.nn.functional.layer_norm(
        states, shape, weights["ln_final.weight"], weights["ln_final.bias"]
    )
    last = states[torch.arange(len(ids)), ids.argmax(dim=-1)]
    return last @ weights["text_projection"]


@torch.inference_mode()
def test_texts_are_embedded_as_by_openais_code(folder: Path, tmp_path: Path) -> None:
    weights = name_like_openai(CLIPModel.from_pretrained(folder))
    torch.save({"state_dict": weights}, tmp_path / "pac.pth")
    model = load_clip_checkpoint(tmp_path / "pac.pth").eval()
    end = len(TOKENS) - 1
    ids = torch.tensor([[end - 1, 3, 40, end], [end - 1, 30, end, end]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    output = model.get_text_features(input_ids=ids, attention_mask=mask)
    rows = getattr(output, "pooler_output", output)
    torch.testing.assert_close(rows, openai_text(ids, weights), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("wrap", [lambda w: w, lambda w: {"state_dict": w}])
def test_a_file_and_a_folder_of_the_same_weights_are_one_model(
    folder: Path, tmp_path: Path, wrap
) -> None:
    weights = CLIPModel.from_pretrained(folder)
    torch.save(wrap(name_like_openai(weights)), tmp_path / "pac.pth")
    model = load_clip_checkpoint(tmp_path / "pac.pth")
    assert model.state_dict().keys() == weights.state_dict().keys()
    for name, value in weights.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    assert model.config.vision_config.image_size == 32
    assert model.config.text_config.num_attention_heads == 2
    assert model.config.text_config.hidden_act == "quick_gelu"


def test_half_precision_is_converted_to_float32(folder: Path, tmp_path: Path) -> None:
    weights = name_like_openai(CLIPModel.from_pretrained(folder))
    torch.save({name: value.half() for name, value in weights.items()}, tmp_path / "pac.pth")
    assert load_clip_checkpoint(tmp_path / "pac.pth").dtype == torch.float32


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a file of weights"),
        (b"not a checkpoint at all", "is not a file of weights"),
        ([1, 2], "has no weights but type list"),
        ({"a.weight": torch.zeros(2)}, "does not contain a CLIP model"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content, message: str) -> None:
    path = tmp_path / "other.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ModelError, match=message):
        load_clip_checkpoint(path)
    with pytest.raises(ModelError, match="cannot be read"):
        load_clip_checkpoint(tmp_path / "absent.pth")


def test_a_file_cannot_run_code(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "harmed",)

    torch.save({"state_dict": Harmful()}, tmp_path / "pac.pth")
    with pytest.raises(ModelError, match="is not a file of weights"):
        load_clip_checkpoint(tmp_path / "pac.pth")
    assert not (tmp_path / "harmed").exists()


def test_weights_with_the_tokenizer_of_another_model_are_an_error(
    folder: Path, tmp_path: Path
) -> None:
    weights = name_like_openai(CLIPModel.from_pretrained(folder))
    weights["token_embedding.weight"] = torch.zeros(90, 128)
    torch.save(weights, tmp_path / "pac.pth")
    with pytest.raises(ModelError, match="pac needs 90 tokens and images of 32 pixels"):
        ClipScorer.load(folder, checkpoint=tmp_path / "pac.pth")
