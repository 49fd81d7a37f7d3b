"""Checkpoints with the files and layout of the published repositories.

The weights are random; tokenizers, file names and config keys are the published ones.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file

from captune.models import load_captioner
from support.models.slow_twins import greedy_without_cache
from support.models.tiny_models import enliven, images

pytestmark = pytest.mark.real_data
CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]
TINY = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
BERT_SPECIALS = {
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
    "pad_token": "[PAD]",
    "sep_token": "[SEP]",
    "unk_token": "[UNK]",
}


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory, real_data: Path) -> Path:
    """Return a folder with the layout of Salesforce/blip-image-captioning-base."""
    folder = tmp_path_factory.mktemp("blip")
    config = {
        "architectures": ["BlipForConditionalGeneration"],
        "image_text_hidden_size": 256,
        "initializer_factor": 1.0,
        "logit_scale_init_value": 2.6592,
        "model_type": "blip",
        "projection_dim": 512,
        "text_config": {
            "add_cross_attention": False,
            "attention_probs_dropout_prob": 0.0,
            "bos_token_id": 30522,
            "diversity_penalty": 0.0,
            "do_sample": False,
            "early_stopping": False,
            "encoder_hidden_size": 32,
            "eos_token_id": 2,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.0,
            "is_decoder": True,
            "max_length": 20,
            "model_type": "blip_text_model",
            "num_beams": 1,
            "pad_token_id": 0,
            "return_dict": True,
            "sep_token_id": 102,
            "torch_dtype": None,
            "use_cache": True,
            "vocab_size": 30524,
            "num_hidden_layers": 2,
            "max_position_embeddings": 512,
            **TINY,
        },
        "torch_dtype": "float32",
        "transformers_version": None,
        "vision_config": {
            "hidden_act": "gelu",
            "image_size": 64,
            "model_type": "blip_vision_model",
            "num_channels": 3,
            "num_hidden_layers": 2,
            "patch_size": 16,
            **TINY,
        },
    }
    write_json(folder / "config.json", config)
    model = transformers.BlipForConditionalGeneration(
        transformers.BlipConfig.from_pretrained(folder)
    )
    enliven(model, 1, 3.0)
    weights = {k: v.clone().contiguous() for k, v in model.state_dict().items()}
    weights["text_decoder.bert.embeddings.position_ids"] = torch.arange(512)[None]
    torch.save(weights, folder / "pytorch_model.bin")
    processor = {"image_processor_type": "BlipImageProcessor", "processor_class": "BlipProcessor"}
    write_json(
        folder / "preprocessor_config.json",
        {**pixels({"height": 64, "width": 64}, resample=3), **processor, "size_divisor": 32},
    )
    write_bert_tokenizer(folder, real_data, processor_class="BlipProcessor")
    return folder


@pytest.fixture(scope="module")
def git(tmp_path_factory: pytest.TempPathFactory, real_data: Path) -> Path:
    """Return a folder with the layout of microsoft/git-base."""
    folder = tmp_path_factory.mktemp("git")
    config = {
        "architectures": ["GitForCausalLM"],
        "attention_probs_dropout_prob": 0.1,
        "bos_token_id": 101,
        "classifier_dropout": None,
        "eos_token_id": 102,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 1024,
        "model_type": "git",
        "num_hidden_layers": 2,
        "num_image_with_embedding": None,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "use_cache": True,
        "vision_config": {
            "dropout": 0.0,
            "hidden_act": "quick_gelu",
            "image_size": 64,
            "model_type": "git_vision_model",
            "num_channels": 3,
            "num_hidden_layers": 2,
            "patch_size": 16,
            "projection_dim": 512,
            **TINY,
        },
        "vocab_size": 30522,
        **TINY,
    }
    write_json(folder / "config.json", config)
    model = transformers.GitForCausalLM(transformers.GitConfig.from_pretrained(folder))
    enliven(model, 2, 1.5)
    weights = {k: v.clone().contiguous() for k, v in model.state_dict().items()}
    weights["git.embeddings.position_ids"] = torch.arange(1024)[None]
    weights["git.image_encoder.vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(
        folder / "preprocessor_config.json",
        {
            **pixels({"shortest_edge": 64}, resample=3),
            "crop_size": {"height": 64, "width": 64},
            "do_center_crop": True,
            "do_convert_rgb": True,
            "image_processor_type": "CLIPImageProcessor",
            "processor_class": "GitProcessor",
        },
    )
    write_bert_tokenizer(folder, real_data, processor_class="GitProcessor")
    return folder


@pytest.fixture(scope="module")
def vit_gpt2(tmp_path_factory: pytest.TempPathFactory, real_data: Path) -> Path:
    """Return the layout of nlpconnect/vit-gpt2-image-captioning: a pickle, an old config name."""
    folder = tmp_path_factory.mktemp("vit_gpt2")
    source = real_data / "weights/gpt2-tokenizer"
    config = {
        "architectures": ["VisionEncoderDecoderModel"],
        "bos_token_id": 50256,
        "decoder": {
            "activation_function": "gelu_new",
            "add_cross_attention": True,
            "architectures": ["GPT2LMHeadModel"],
            "attn_pdrop": 0.1,
            "bos_token_id": 50256,
            "decoder_start_token_id": 50256,
            "embd_pdrop": 0.1,
            "eos_token_id": 50256,
            "is_decoder": True,
            "model_type": "gpt2",
            "n_ctx": 1024,
            "n_embd": 32,
            "n_head": 2,
            "n_layer": 2,
            "n_positions": 1024,
            "pad_token_id": 50256,
            "resid_pdrop": 0.1,
            "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
            "tie_word_embeddings": True,
            "vocab_size": 50257,
        },
        "decoder_start_token_id": 50256,
        "encoder": {
            "architectures": ["ViTModel"],
            "encoder_stride": 16,
            "hidden_act": "gelu",
            "image_size": 64,
            "model_type": "vit",
            "num_channels": 3,
            "num_hidden_layers": 2,
            "patch_size": 16,
            "qkv_bias": True,
            **TINY,
        },
        "eos_token_id": 50256,
        "is_encoder_decoder": True,
        "model_type": "vision-encoder-decoder",
        "pad_token_id": 50256,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "transformers_version": None,
    }
    write_json(folder / "config.json", config)
    model = transformers.VisionEncoderDecoderModel(
        transformers.VisionEncoderDecoderConfig.from_pretrained(folder)
    )
    enliven(model, 3, 2.5)
    weights = dict(model.state_dict())
    for layer in range(2):
        for attention in ("attn", "crossattention"):
            key = f"decoder.transformer.h.{layer}.{attention}"
            weights[f"{key}.bias"] = torch.ones(1, 1, 1024, 1024, dtype=torch.uint8).tril()
            weights[f"{key}.masked_bias"] = torch.tensor(-1e4)
    torch.save(weights, folder / "pytorch_model.bin")
    write_json(
        folder / "preprocessor_config.json",
        {
            "do_normalize": True,
            "do_resize": True,
            "feature_extractor_type": "ViTFeatureExtractor",
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "resample": 2,
            "size": 64,
        },
    )
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(source / name, folder / name)
    specials = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    write_json(folder / "special_tokens_map.json", {**specials, "pad_token": "<|endoftext|>"})
    write_json(
        folder / "tokenizer_config.json",
        {**specials, "add_prefix_space": False, "tokenizer_class": "GPT2Tokenizer"}
        | {"model_max_length": 1024, "special_tokens_map_file": None},
    )
    return folder


@pytest.fixture
def layout(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.getfixturevalue(request.param)
    return folder


@pytest.mark.parametrize("layout", ["blip", "git", "vit_gpt2"], indirect=True)
def test_captune_and_plain_transformers_write_the_same_captions(
    layout: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    captions = plain_captions(layout)
    capfd.readouterr()
    captioner = load_captioner(layout)
    assert capfd.readouterr() == ("", "")
    ours = []
    for image in images(3):
        pixels = captioner.pixel_values([image])
        ours.append(captioner.decode(greedy_without_cache(captioner, pixels, max_new_tokens=8)))
    assert ours == captions
    assert len(set(ours)) > 1


@pytest.mark.parametrize("layout", ["blip", "git", "vit_gpt2"], indirect=True)
def test_a_checkpoint_saved_again_writes_the_same_captions(layout: Path, tmp_path: Path) -> None:
    expected = plain_captions(layout)
    load_captioner(layout).save(tmp_path)
    assert plain_captions(tmp_path) == expected


def test_the_special_ids_of_published_blip_are_read(blip: Path) -> None:
    captioner = load_captioner(blip)
    # The vocabulary has 30,522 words; [DEC] comes after them and the tokenizer does not know it.
    assert len(captioner.tokenizer) == 30522
    encoded = captioner.encode_caption("two cats sleeping on a couch", 20).token_ids
    assert encoded == (30522, 2048, 8870, 5777, 2006, 1037, 6411, 102)
    assert captioner.decode(encoded) == "two cats sleeping on a couch"


def test_the_special_ids_of_published_git_are_read(git: Path) -> None:
    captioner = load_captioner(git)
    encoded = captioner.encode_caption("Two cats sleeping", 20).token_ids
    assert encoded == (101, 2048, 8870, 5777, 102)
    assert captioner.max_positions == 1024


def test_the_special_ids_of_published_vit_gpt2_are_read(vit_gpt2: Path) -> None:
    captioner = load_captioner(vit_gpt2)
    assert captioner.encode_caption("a dog", 20).token_ids == (50256, 64, 3290, 50256)
    assert captioner.pad_token_id == 50256


@pytest.mark.parametrize("layout", ["blip", "git", "vit_gpt2"], indirect=True)
def test_the_loaded_weights_equal_those_in_the_file(layout: Path) -> None:
    model = load_captioner(layout).model
    if (layout / "model.safetensors").is_file():
        from safetensors.torch import load_file

        stored = load_file(layout / "model.safetensors")
    else:
        stored = torch.load(layout / "pytorch_model.bin", weights_only=True)
    own = model.state_dict()
    assert all(torch.equal(value, stored[key]) for key, value in own.items() if key in stored)
    assert set(own) <= set(stored)


def test_an_output_head_trained_separately_from_the_embedding_stays_separate(
    vit_gpt2: Path, tmp_path: Path
) -> None:
    """Old joint models were saved untied; loading must not replace the head with the embedding."""
    folder = Path(shutil.copytree(vit_gpt2, tmp_path / "model"))
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    weights["decoder.lm_head.weight"] = weights["decoder.lm_head.weight"] + 0.5
    torch.save(weights, folder / "pytorch_model.bin")

    load_captioner(folder).save(tmp_path / "again")
    for source in (folder, tmp_path / "again"):
        decoder = load_captioner(source).model.decoder
        head, words = decoder.lm_head.weight, decoder.transformer.wte.weight
        assert torch.equal(head, weights["decoder.lm_head.weight"])
        assert torch.equal(words, weights["decoder.transformer.wte.weight"])


def plain_captions(folder: Path) -> list[str]:
    """Return greedy captions of the images, by transformers alone."""
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    captions = []
    for image in images(3):
        inputs = processor(image, return_tensors="pt")
        ids = model.generate(
            pixel_values=inputs.pixel_values, max_new_tokens=8, do_sample=False, num_beams=1
        )
        captions.append(tokenizer.decode(ids[0], skip_special_tokens=True).strip())
    return captions


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def pixels(size: dict[str, int], *, resample: int) -> dict[str, Any]:
    return {
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_STD,
        "resample": resample,
        "rescale_factor": 0.00392156862745098,
        "size": size,
    }


def write_bert_tokenizer(folder: Path, real_data: Path, *, processor_class: str) -> None:
    """Write vocab.txt, tokenizer.json, tokenizer_config.json and special_tokens_map.json."""
    source = real_data / "weights/bert-base-uncased-vocab"
    shutil.copy(source / "vocab.txt", folder / "vocab.txt")
    fast = transformers.AutoTokenizer.from_pretrained(source)
    fast.backend_tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "special_tokens_map.json", BERT_SPECIALS)
    write_json(
        folder / "tokenizer_config.json",
        {
            **BERT_SPECIALS,
            "do_basic_tokenize": True,
            "do_lower_case": True,
            "model_input_names": ["input_ids", "attention_mask"],
            "model_max_length": 512,
            "name_or_path": "bert-base-uncased",
            "never_split": None,
            "processor_class": processor_class,
            "special_tokens_map_file": None,
            "strip_accents": None,
            "tokenize_chinese_chars": True,
            "tokenizer_class": "BertTokenizer",
        },
    )
