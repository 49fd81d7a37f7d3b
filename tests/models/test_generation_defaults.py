"""A model stores the decoding settings of its recipe; captune and plain transformers use them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, GenerationConfig

import captune
from captune.errors import ModelError
from captune.inference.decoding.decode import plan_search, search
from captune.models import (
    build_captioner,
    build_size,
    model_decoding,
    read_decoding,
    shared_decoding,
    write_decoding,
)
from captune.models.generation_defaults import suppress_unknown
from captune.recipe import GenerateConfig, ModelConfig, TokenizerConfig, fill_decoding
from support.hub.repos import HubServer
from support.models.tiny_models import build, images, tokenizer

BEAMS = GenerateConfig(num_beams=4, max_new_tokens=7, length_penalty=0.0, no_repeat_ngram_size=2)
SAMPLING = GenerateConfig(num_beams=1, do_sample=True, temperature=0.5, top_k=5)


def save(folder: Path, config: GenerateConfig, *, size: str = "blip-tiny") -> Path:
    captioner = build(size, spread=3.0)
    write_decoding(captioner.model, config)
    captioner.save(folder)
    return folder


@pytest.mark.parametrize("size", ["blip-tiny", "git-tiny", "vit-gpt2-tiny"])
def test_a_saved_model_is_decoded_with_the_settings_of_its_recipe(
    size: str, tmp_path: Path
) -> None:
    folder = save(tmp_path, BEAMS, size=size)
    captioner = captune.load(folder, device="cpu", precision="fp32")
    pictures = images(4)
    asked = [p.caption for p in captioner.caption(pictures, **BEAMS.model_dump())]
    assert [p.caption for p in captioner.caption(pictures)] == asked
    greedy = captioner.caption(pictures, num_beams=1, max_new_tokens=20)
    assert [p.caption for p in greedy] != asked


# BLIP's generate calls its text decoder, which has no generation_config.json.
@pytest.mark.parametrize("size", ["git-tiny", "vit-gpt2-tiny"])
def test_plain_transformers_decodes_with_the_settings_of_the_recipe(
    size: str, tmp_path: Path
) -> None:
    folder = save(tmp_path, BEAMS, size=size)
    captioner = captune.load(folder, device="cpu", precision="fp32")
    picture = images(1)[0]
    plain = AutoModelForImageTextToText.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        ids = plain.generate(pixel_values=captioner.captioner.pixel_values([picture]))[0]
    assert captioner.captioner.decode(ids.tolist()) == captioner.caption(picture)[0].caption


@pytest.mark.parametrize("config", [BEAMS, SAMPLING, GenerateConfig(), GenerateConfig(num_beams=1)])
def test_saved_decoding_settings_are_read_back(config: GenerateConfig, tmp_path: Path) -> None:
    own = read_decoding(str(save(tmp_path, config)))
    assert fill_decoding(GenerateConfig.model_validate({}), own) == config


def test_flags_override_the_settings_of_the_model() -> None:
    own = {"num_beams": 5, "max_new_tokens": 25, "length_penalty": 0.7}
    given = GenerateConfig(num_beams=2)
    chosen = fill_decoding(given, own)
    assert (chosen.num_beams, chosen.max_new_tokens, chosen.length_penalty) == (2, 25, 0.7)


def test_requested_sampling_uses_one_beam_whatever_the_model_sets() -> None:
    own = {"num_beams": 5, "length_penalty": 0.7, "max_new_tokens": 25}
    chosen = fill_decoding(GenerateConfig(num_beams=1, do_sample=True), own)
    assert (chosen.num_beams, chosen.do_sample, chosen.max_new_tokens) == (1, True, 25)


def test_requested_beams_turn_off_the_sampling_of_a_model() -> None:
    own = {"num_beams": 1, "do_sample": True, "temperature": 0.3, "max_new_tokens": 25}
    chosen = fill_decoding(GenerateConfig(num_beams=4), own)
    assert chosen == GenerateConfig(num_beams=4, max_new_tokens=25)


def test_settings_that_transformers_derived_or_captune_does_not_support_are_skipped() -> None:
    guessed = GenerationConfig(num_beams=9, _from_model_config=True)
    assert model_decoding(guessed) == {}
    strange = GenerationConfig(num_beams=2, early_stopping="never", max_length=20, top_k=-4)
    assert model_decoding(strange) == {"num_beams": 2}
    sampled_beams = GenerationConfig(num_beams=2, do_sample=True, temperature=0.5)
    assert model_decoding(sampled_beams) == {"num_beams": 2}


def test_models_share_decoding_settings_only_if_they_are_equal(tmp_path: Path) -> None:
    first, second = (str(save(tmp_path / name, BEAMS)) for name in "ab")
    third = str(save(tmp_path / "c", SAMPLING))
    assert shared_decoding([first, second]) == read_decoding(first)
    assert shared_decoding([first, third]) is None


def test_a_hub_model_has_decoding_settings_only_with_the_file(
    hub: HubServer, tmp_path: Path
) -> None:
    folder = save(tmp_path / "m", BEAMS)
    hub.add("models/me/with", folder)
    (folder / "generation_config.json").unlink()
    hub.add("models/me/without", folder)
    assert read_decoding("me/with")["num_beams"] == 4
    assert read_decoding("me/without") == read_decoding(str(folder)) == {}
    with pytest.raises(ModelError, match="me/none"):
        read_decoding("me/none")


RARE = ["a dog sits", "a dog sits", "a cat sits on a sofa"]


@torch.inference_mode()
@pytest.mark.parametrize("size", ["git-tiny", "vit-gpt2-tiny"])
def test_a_new_model_never_generates_the_unknown_token(size: str, tmp_path: Path) -> None:
    config = ModelConfig(size=size, new_tokenizer=TokenizerConfig(kind="word", min_count=2))
    captioner = build_captioner(config, RARE)
    unknown = captioner.tokenizer.unk_token_id
    assert unknown in captioner.encode_caption("a cat sits", 10).token_ids
    captioner.save(tmp_path)
    again = captune.load(tmp_path, device="cpu").captioner
    states = again.encode(again.pixel_values(images(2)))
    greedy = GenerateConfig(num_beams=1, max_new_tokens=6)
    task = plan_search(again, ["0", "1"], config=greedy)
    plain_head = again.lm_head

    def wants_unknown(hidden: torch.Tensor) -> torch.Tensor:
        logits = plain_head(hidden).clone()
        logits[..., unknown] = 99.0
        return logits

    again.lm_head = wants_unknown  # type: ignore[method-assign]
    allowed = search(again, states, task=replace(task, suppressed_ids=()))
    assert {token for found in allowed for token in found.token_ids} == {unknown}
    forbidden = search(again, states, task=task)
    assert unknown not in {token for found in forbidden for token in found.token_ids}
    plain = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert plain.generation_config.suppress_tokens == [unknown]


def test_an_unknown_token_that_is_also_the_end_token_stays_allowed() -> None:
    words = tokenizer()
    words.unk_token = words.sep_token
    captioner = build_size("vit-gpt2-tiny", words)
    suppress_unknown(captioner)
    assert captioner.tokenizer.unk_token_id == captioner.eos_token_id
    assert captioner.model.generation_config.suppress_tokens is None
