"""A saved folder is a plain Hugging Face folder: transformers loads it without captune."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from captune.models import Captioner, load_captioner
from support.models.slow_twins import greedy_without_cache
from support.models.tiny_models import ALL, FAMILY_MODELS, build, build_wild, images

CONV = FAMILY_MODELS["captune-conv-encoder-decoder"]
PLAIN = """
import json, sys
sys.modules["captune"] = None  # importing it fails
from pathlib import Path
from PIL import Image
import torch, transformers
from transformers import AutoModelForImageTextToText, AutoProcessor, AutoTokenizer
from transformers import AutoImageProcessor
answers = {}
for name, needs_code in json.loads(sys.argv[2]).items():
    folder = Path(sys.argv[1]) / name
    answer = answers[name] = {}
    if needs_code:
        try:
            AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=False)
            answer["without_code"] = "opened"
        except ValueError as error:
            answer["without_code"] = str(error)
    model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=needs_code).eval()
    processor = AutoProcessor.from_pretrained(folder)
    inputs = processor(images=Image.open(Path(sys.argv[1]) / "image.png"), return_tensors="pt")
    ids = model.generate(**inputs, max_new_tokens=8, do_sample=False, num_beams=1)
    answer["ids"] = ids[0].tolist()
    answer["caption"] = processor.batch_decode(ids, skip_special_tokens=True)[0].strip()
    answer["model"] = type(model).__name__
    answer["processor"] = type(processor).__name__
    answer["tokens"] = len(AutoTokenizer.from_pretrained(folder))
    answer["pixels"] = list(AutoImageProcessor.from_pretrained(folder)(
        Image.open(Path(sys.argv[1]) / "image.png"), return_tensors="pt").pixel_values.shape)
    named = getattr(transformers, type(model).__name__, None)
    if named is not None:
        again = named.from_pretrained(folder).eval()
        same = again.generate(**inputs, max_new_tokens=8, do_sample=False, num_beams=1)
        answer["by_class"] = same[0].tolist()
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save all captioners, and an image beside them."""
    root = tmp_path_factory.mktemp("saved")
    for name in ALL:
        build_wild(name).save(root / name)
    images(1)[0].save(root / "image.png")
    return root


@pytest.fixture(scope="module")
def plain(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the results of plain transformers per folder, from a process without captune."""
    asked = json.dumps({name: name in CONV for name in ALL})
    home = tmp_path_factory.mktemp("home")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PLAIN, str(folders), asked],
        capture_output=True,
        text=True,
        check=False,
        env={"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PATH": ""},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_plain_transformers_writes_the_same_caption(
    name: str, folders: Path, plain: dict[str, Any]
) -> None:
    captioner = load_captioner(folders / name)
    pixels = captioner.pixel_values(images(1))
    ids = greedy_without_cache(captioner, pixels, max_new_tokens=8)
    assert plain[name]["ids"] == [captioner.bos_token_id, *ids]
    assert plain[name]["caption"] == captioner.decode(ids)
    assert plain[name]["tokens"] == len(captioner.tokenizer)
    assert plain[name]["pixels"] == [1, 3, 64, 64]


@pytest.mark.slow
def test_the_compared_captions_differ(plain: dict[str, Any]) -> None:
    assert len({plain[name]["caption"] for name in ALL}) > len(ALL) // 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "model", "processor"),
    [
        ("blip-tiny", "BlipForConditionalGeneration", "BlipProcessor"),
        ("git-tiny", "GitForCausalLM", "GitProcessor"),
        ("vit-gpt2-tiny", "VisionEncoderDecoderModel", "TrOCRProcessor"),
        ("vit-bert-tiny", "VisionEncoderDecoderModel", "TrOCRProcessor"),
        ("swin-gpt2-tiny", "VisionEncoderDecoderModel", "TrOCRProcessor"),
    ],
)
def test_the_classes_of_the_family_load_the_folder(
    name: str, model: str, processor: str, plain: dict[str, Any]
) -> None:
    assert (plain[name]["model"], plain[name]["processor"]) == (model, processor)
    assert plain[name]["by_class"] == plain[name]["ids"]


@pytest.mark.slow
def test_convolutional_captioners_need_trust_remote_code(plain: dict[str, Any]) -> None:
    # Only the first one: once trusted, the code is registered in that process.
    assert "trust_remote_code=True" in plain[CONV[0]]["without_code"]


@pytest.mark.parametrize(
    ("name", "tied"),
    [
        ("blip-tiny", True),
        ("git-tiny", False),
        ("vit-gpt2-tiny", True),
        ("vit-bert-tiny", True),
        ("mobilenet-gpt2-tiny", True),
        ("untied-bert", False),
    ],
)
def test_heads_share_the_embedding_if_the_config_ties_them(
    name: str, tied: bool, folders: Path
) -> None:
    model = load_captioner(folders / name).model
    assert head_is_tied(model) is tied
    # They also share it during training.
    words, head = embedding(model), output_head(model)
    with torch.no_grad():
        words.weight.add_(1.0)
    assert torch.equal(words.weight, head.weight) is tied


@pytest.mark.parametrize("name", ["blip-tiny", "vit-gpt2-tiny", "vit-bert-tiny"])
def test_a_tied_weight_is_stored_once(name: str, folders: Path) -> None:
    from safetensors import safe_open

    with safe_open(folders / name / "model.safetensors", "pt") as file:
        stored = sum(file.get_tensor(key).numel() for key in file.keys())  # noqa: SIM118
    model = build_wild(name).model
    assert stored == count(model) + buffers_saved(model)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_is_saved_in_its_own_dtype(dtype: torch.dtype, tmp_path: Path) -> None:
    from transformers import AutoModelForImageTextToText

    captioner = build("vit-gpt2-tiny")
    captioner.model.to(dtype)
    captioner.save(tmp_path)
    assert AutoModelForImageTextToText.from_pretrained(tmp_path).dtype == dtype
    # captune trains and runs in float32 under autocast.
    assert load_captioner(tmp_path).model.dtype == torch.float32


@pytest.mark.parametrize("name", ["blip-tiny", "git-tiny", "vit-gpt2-tiny", "mobilenet-gpt2-tiny"])
def test_the_generation_config_holds_the_special_ids(name: str, folders: Path) -> None:
    captioner = load_captioner(folders / name)
    saved = json.loads((folders / name / "generation_config.json").read_text(encoding="utf-8"))
    assert saved["bos_token_id"] == captioner.bos_token_id
    assert saved["eos_token_id"] == captioner.eos_token_id
    assert saved["pad_token_id"] == captioner.pad_token_id


@pytest.mark.parametrize("name", ["vit-gpt2-tiny", "mobilenet-gpt2-tiny"])
def test_a_saved_folder_can_be_overwritten_and_loaded_again(name: str, tmp_path: Path) -> None:
    build_wild(name).save(tmp_path)
    first = load_captioner(tmp_path)
    first.save(tmp_path)
    second = load_captioner(tmp_path)
    assert type(first.model) is type(second.model)
    old, new = first.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(old[key], new[key]) for key in old)


@pytest.mark.parametrize("left_out", ["preprocessor_config.json", "processor_config.json"])
@pytest.mark.parametrize("name", ["blip-tiny", "git-tiny", "vit-gpt2-tiny"])
def test_either_processor_file_is_enough(left_out: str, name: str, tmp_path: Path) -> None:
    captioner = build_wild(name)
    captioner.save(tmp_path)
    (tmp_path / left_out).unlink()
    again = load_captioner(tmp_path)
    pixels = captioner.pixel_values(images(3))
    assert torch.equal(again.pixel_values(images(3)), pixels)


def test_saving_and_loading_print_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("blip-tiny", "vit-bert-tiny", "mobilenet-gpt2-tiny"):
        build_wild(name).save(tmp_path / name)
        load_captioner(tmp_path / name)
    assert capfd.readouterr() == ("", "")


def count(model: Any) -> int:
    """Count parameters, shared ones once."""
    return sum(p.numel() for p in model.parameters())


def buffers_saved(model: Any) -> int:
    parameters = dict(model.named_parameters(remove_duplicate=False))
    return sum(t.numel() for key, t in model.state_dict().items() if key not in parameters)


def decoder_of(model: Any) -> Any:
    return getattr(model, "text_decoder", None) or getattr(model, "decoder", model)


def embedding(model: Any) -> Any:
    return decoder_of(model).get_input_embeddings()


def output_head(model: Any) -> Any:
    return decoder_of(model).get_output_embeddings()


def head_is_tied(model: Any) -> bool:
    return embedding(model).weight is output_head(model).weight


def test_loading_a_folder_gives_a_captioner_that_is_ready_to_caption(folders: Path) -> None:
    captioner: Captioner = load_captioner(str(folders / "blip-tiny"))
    assert not captioner.model.training
    assert captioner.frozen_stages == 0
    assert all(p.requires_grad for p in captioner.model.parameters())
