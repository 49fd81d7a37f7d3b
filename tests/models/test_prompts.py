"""Plain transformers and captune continue a prompt alike for models trained from scratch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

import captune
from captune.models import build_size
from support.models.tiny_models import build, images

PROMPT = "a red dog"


def ours(folder: Path) -> list[str]:
    decoding = {"prompt": PROMPT, "num_beams": 1, "max_new_tokens": 8}
    return [
        p.caption
        for p in captune.load(folder, device="cpu", precision="fp32").caption(images(3), **decoding)
    ]


@pytest.mark.parametrize("name", ["blip-tiny", "git-tiny"])
def test_plain_transformers_continues_the_prompt_as_captune_does(name: str, tmp_path: Path) -> None:
    build(name, spread=2.5).save(tmp_path)
    processor = AutoProcessor.from_pretrained(tmp_path, backend="pil")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path)
    theirs = []
    for image in images(3):
        inputs = processor(images=image, text=PROMPT, return_tensors="pt")
        ids = model.generate(**inputs, num_beams=1, max_new_tokens=8)
        theirs.append(processor.decode(ids[0], skip_special_tokens=True))
    assert theirs == ours(tmp_path)
    assert all(caption.startswith(f"{PROMPT} ") for caption in theirs)


@pytest.mark.parametrize("name", ["vit-gpt2-tiny", "vit-bert-tiny"])
def test_a_joined_model_gets_the_prompt_without_special_tokens(name: str, tmp_path: Path) -> None:
    build(name, spread=2.5).save(tmp_path)
    processor = AutoProcessor.from_pretrained(tmp_path, backend="pil")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path)
    prompt = torch.tensor([processor.tokenizer(PROMPT).input_ids])
    theirs = []
    for image in images(3):
        pixels = processor.image_processor(image, return_tensors="pt").pixel_values
        # transformers itself adds the start token before it.
        ids = model.generate(pixels, decoder_input_ids=prompt, num_beams=1, max_new_tokens=8)
        theirs.append(processor.decode(ids[0], skip_special_tokens=True))
    assert theirs == ours(tmp_path)


def test_a_tokenizer_that_adds_special_tokens_is_not_changed() -> None:
    once = build("blip-tiny").tokenizer
    twice = build_size("blip-tiny", once).tokenizer
    assert twice("a red dog").input_ids == once("a red dog").input_ids
    tokens = once.convert_ids_to_tokens(once("a red dog").input_ids)
    assert tokens == ["[CLS]", "a", "red", "dog", "[SEP]"]
