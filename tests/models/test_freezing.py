"""Freezing by the names that recipes use freezes the named parts and nothing else."""

from __future__ import annotations

import re

import pytest

from captune.errors import ModelError
from captune.models import Captioner, build_captioner
from captune.recipe import ModelConfig
from support.models.tiny_models import ALL, build

# Size, part -> pattern of the frozen parameters.
FROZEN = {
    ("blip-tiny", "vision"): r"vision_model\.",
    ("blip-tiny", "text"): r"text_decoder\.",
    ("blip-tiny", "embeddings"): r"text_decoder\.bert\.embeddings\.",
    ("blip-tiny", "cross_attention"): r".*\.crossattention\.",
    ("blip-tiny", "vision.first-2"): r"vision_model\.(embeddings|encoder\.layers\.[01])\.",
    ("blip-tiny", "text.first-2"): r"text_decoder\.bert\.encoder\.layer\.[01]\.",
    ("git-tiny", "vision"): r"git\.image_encoder\.",
    ("git-tiny", "text"): r"git\.(embeddings|encoder|visual_projection)\.|output\.",
    ("git-tiny", "embeddings"): r"git\.embeddings\.",
    ("git-tiny", "vision.first-1"): (
        r"git\.image_encoder\.vision_model\.(embeddings|pre_layrnorm|encoder\.layers\.0)\."
    ),
    ("git-tiny", "text.first-1"): r"git\.encoder\.layer\.0\.",
    ("vit-gpt2-tiny", "vision"): r"encoder\.",
    ("vit-gpt2-tiny", "text"): r"decoder\.",
    ("vit-gpt2-tiny", "embeddings"): r"decoder\.transformer\.(wte|wpe)\.",
    ("vit-gpt2-tiny", "cross_attention"): r".*\.(crossattention|ln_cross_attn)\.",
    ("vit-gpt2-tiny", "vision.first-1"): r"encoder\.(embeddings|layers\.0)\.|encoder\.pooler\.",
    ("vit-gpt2-tiny", "text.first-3"): r"decoder\.transformer\.h\.[012]\.",
    ("vit-bert-tiny", "embeddings"): r"decoder\.bert\.embeddings\.",
    ("vit-bert-tiny", "cross_attention"): r".*\.crossattention\.",
    ("deit-gpt2-tiny", "vision"): r"encoder\.",
    ("swin-gpt2-tiny", "vision"): r"encoder\.",
    ("beit-gpt2-tiny", "vision"): r"encoder\.",
    ("mobilenet-gpt2-tiny", "vision"): r"encoder\.backbone\.",
    ("mobilenet-gpt2-tiny", "vision.first-3"): r"encoder\.backbone\.(conv_stem|layer\.[012])\.",
    ("resnet-bert", "vision.first-1"): r"encoder\.backbone\.(embedder|encoder\.stages\.0)\.",
    ("convnext-gpt2", "vision.first-1"): r"encoder\.backbone\.(embeddings|encoder\.stages\.0)\.",
    ("wide-vit-gpt2", "vision"): r"encoder\.",
}
# Parameters that no caption depends on; they are always frozen.
UNUSED = r"encoder\.pooler\.|encoder\.backbone\.layernorm\."


@pytest.mark.parametrize(("name", "part"), FROZEN, ids=str)
def test_only_the_named_part_is_frozen(name: str, part: str) -> None:
    captioner = build(name)
    captioner.freeze([part])
    pattern = re.compile(FROZEN[name, part])
    learning = [n for n, p in captioner.model.named_parameters() if p.requires_grad]
    still = [n for n, p in captioner.model.named_parameters() if not p.requires_grad]
    assert [n for n in learning if pattern.match(n)] == []
    assert [n for n in still if not pattern.match(n) and not re.match(UNUSED, n)] == []
    assert [n for n, _ in captioner.named_trainable()] == learning
    assert still


@pytest.mark.parametrize("name", ALL)
def test_freezing_nothing_freezes_only_unused_parameters(name: str) -> None:
    captioner = build(name)
    captioner.freeze([])
    still = [n for n, p in captioner.model.named_parameters() if not p.requires_grad]
    allowed = UNUSED + r"|decoder\.cls\.predictions\.bias$"
    assert [n for n in still if not re.match(allowed, n)] == []


@pytest.mark.parametrize("name", ALL)
def test_freezing_all_parts_leaves_only_the_bridge_trainable(name: str) -> None:
    captioner = build(name)
    captioner.freeze(["vision", "text"])
    learning = [n for n, _ in captioner.named_trainable()]
    assert [n for n in learning if not re.match(r"encoder\.bridge\.|enc_to_dec_proj\.", n)] == []


def test_a_recipe_that_leaves_nothing_to_train_is_refused() -> None:
    config = ModelConfig(size="blip-tiny", freeze=("vision", "text"))
    with pytest.raises(ModelError, match="nothing is left to train: vision, text") as caught:
        build_captioner(config, ["a dog", "a dog on a beach"])
    assert caught.value.where == "model.freeze"
    assert "vision alone" in caught.value.fix


def test_freezing_again_replaces_what_was_frozen() -> None:
    captioner = build("blip-tiny")
    captioner.freeze(["vision", "text.first-1"])
    captioner.freeze(["embeddings"])
    assert captioner.frozen_stages == 0
    assert all(p.requires_grad for p in captioner.model.vision_model.parameters())


def test_parts_are_combined_in_any_order() -> None:
    one, two = build("blip-tiny"), build("blip-tiny")
    one.freeze(["vision.first-1", "vision.first-2", "embeddings"])
    two.freeze(["embeddings", "vision.first-2", "vision.first-1"])
    assert one.frozen_stages == two.frozen_stages == 3
    assert trainable(one) == trainable(two)


def test_freezing_vision_freezes_every_stage_except_the_bridge() -> None:
    captioner = build("mobilenet-gpt2-tiny")
    captioner.freeze(["vision"])
    assert captioner.frozen_stages == len(captioner.vision_stages()) - 1
    assert any(n.startswith("encoder.bridge.") for n in trainable(captioner))


@pytest.mark.parametrize(
    ("name", "part", "what", "fix"),
    [
        (
            "blip-tiny",
            "visoin",
            "the family blip has no part 'visoin' to freeze (did you mean 'vision'?)",
            "use one of: vision, text, embeddings, cross_attention, vision.first-K, text.first-K",
        ),
        (
            "git-tiny",
            "cross_attention",
            "the family git has no part 'cross_attention' to freeze",
            "use one of: vision, text, embeddings, vision.first-K, text.first-K",
        ),
        (
            "vit-gpt2-tiny",
            "text.first-9",
            "text.first-9 asks for more layers than the model has (3)",
            "use a K up to 3, or freeze the whole part",
        ),
    ],
)
def test_the_error_for_an_unknown_part_names_the_known_ones(
    name: str, part: str, what: str, fix: str
) -> None:
    with pytest.raises(ModelError) as caught:
        build(name).freeze([part])
    assert caught.value.what == what
    assert caught.value.where == "model.freeze"
    assert caught.value.fix == fix


def test_the_description_names_parts_and_counts() -> None:
    captioner = build("wide-vit-gpt2")
    captioner.freeze(["vision"])
    # By hand: projection 32 * 48 + 48; embeddings 31 * 48 + 32 * 48; cross-attention: norm 2 * 48,
    # keys and values 48 * 96 + 96, queries 48 * 48 + 48, output 48 * 48 + 48.
    words = len(captioner.tokenizer)
    description = captioner.describe_parameters()
    assert "vision 0 of " in description
    assert "bridge 1,584 of 1,584" in description
    assert f"embeddings {48 * (words + 32):,} of {48 * (words + 32):,}" in description
    assert "cross_attention 9,504 of 9,504" in description
    assert " parameters learn (" in description


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("blip-tiny", "vision_model."),
        ("git-tiny", "git.image_encoder."),
        ("vit-gpt2-tiny", "encoder."),
        ("mobilenet-gpt2-tiny", "encoder.backbone."),
    ],
)
def test_vision_parameters_include_the_encoder_but_not_the_bridge(name: str, prefix: str) -> None:
    captioner = build(name)
    names = [n for n, _ in captioner.model.named_parameters()]
    found = [n for n in names if captioner.is_vision_parameter(n)]
    assert found == [n for n in names if n.startswith(prefix)] != []


def trainable(captioner: Captioner) -> list[str]:
    return [name for name, _ in captioner.named_trainable()]
