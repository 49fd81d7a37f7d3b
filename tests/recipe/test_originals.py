"""The shipped recipes keep the settings of their originals; a comment explains each departure."""

from __future__ import annotations

import pytest

from captune.recipe import load_recipe, shipped_path

# From the originals; where those set nothing, the defaults of Trainer and of torch's AdamW.
ORIGINALS = {
    "pokemon-git": {
        **{"model.checkpoint": "microsoft/git-base", "train.epochs": 50.0},
        **{"train.micro_batch_size": 32, "train.global_batch_size": 64, "train.best_metric": "wer"},
        **{"train.validate_every": 50, "train.save_every": 50, "train.log_every": 50},
        **{"train.keep_checkpoints": 3, "train.schedule": "linear", "train.warmup_steps": 0},
        **{"train.weight_decay": 0.0, "train.max_grad_norm": 1.0, "generate.max_new_tokens": 50},
        **{"data.image_column": "image", "data.caption_column": "text"},
    },
    "football-blip": {
        **{"data.path": "ybelkada/football-dataset", "train.epochs": 50.0},
        **{"model.checkpoint": "Salesforce/blip-image-captioning-base"},
        **{"train.learning_rate": 5e-5, "train.schedule": "constant", "train.warmup_steps": 0},
        **{"train.weight_decay": 0.01, "train.max_grad_norm": None, "train.precision": "fp32"},
        **{"train.micro_batch_size": 2, "train.global_batch_size": 2, "train.log_every": 1},
        **{"generate.max_new_tokens": 50},
    },
    "flickr8k-blip": {
        **{"data.path": "kaggle://adityajn105/flickr8k", "seed": 42, "data.split_by": "image"},
        **{"data.split_fractions.train": 0.8, "data.split_fractions.val": 0.1},
        **{"model.checkpoint": "Salesforce/blip-image-captioning-base"},
        **{"model.freeze": ("vision",), "train.epochs": 2.0, "train.learning_rate": 5e-5},
        **{"train.weight_decay": 0.01, "train.warmup_fraction": 0.05, "train.schedule": "linear"},
        # 16 captions per step: close to four images with five each.
        **{"train.max_grad_norm": 1.0, "train.micro_batch_size": 4, "train.global_batch_size": 4},
        **{"train.log_every": 50, "generate.num_beams": 5, "generate.max_new_tokens": 20},
        **{"generate.no_repeat_ngram_size": 2, "generate.repetition_penalty": 1.05},
        **{"generate.length_penalty": 1.0, "evaluate.max_images": 500},
        **{"evaluate.max_references": 5},
    },
    "hephaestus-blip-large": {
        **{"model.checkpoint": "Salesforce/blip-image-captioning-large", "seed": 42},
        **{"data.split_fractions.train": 0.8, "data.split_fractions.val": 0.1},
        **{"train.epochs": 4.0, "train.learning_rate": 5e-5, "train.schedule": "constant"},
        **{"train.warmup_steps": 0, "train.weight_decay": 0.01, "train.max_grad_norm": None},
        **{"train.micro_batch_size": 4, "train.global_batch_size": 4, "train.device": "auto"},
        **{"train.validate_every": None, "generate.max_new_tokens": 150},
        **{"evaluate.bert_model": "bert-base-uncased"},
    },
    "coco-swin-gpt2": {
        **{"model.encoder": "microsoft/swin-base-patch4-window7-224-in22k"},
        **{"model.decoder": "gpt2", "data.fraction": 0.5, "data.max_caption_tokens": 32},
        **{"train.epochs": 2.0, "train.learning_rate": 5e-5, "train.schedule": "linear"},
        **{"train.warmup_steps": 0, "train.weight_decay": 0.0, "train.max_grad_norm": 1.0},
        # 16 captions per step: close to four images with five each.
        **{"train.micro_batch_size": 4, "train.global_batch_size": 4},
        **{"train.validate_every": 2000, "train.save_every": 2000, "generate.max_new_tokens": 32},
    },
}
DEPARTURES = {
    "pokemon-git": ("path", "split_fractions", "learning_rate", "precision", "push_to_hub"),
    "football-blip": ("seed", "split_fractions", "save_every", "micro_batch_size"),
    "flickr8k-blip": ("path", "precision", "micro_batch_size", "best_metric", "metrics"),
    "hephaestus-blip-large": ("seed", "split_by", "best_metric", "metrics"),
    "coco-swin-gpt2": ("fraction", "decoder", "learning_rate", "micro_batch_size", "metrics"),
}


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [(name, key, value) for name, kept in ORIGINALS.items() for key, value in kept.items()],
)
def test_a_recipe_keeps_the_setting_of_its_original(name: str, key: str, value: object) -> None:
    found: object = load_recipe(name)
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value


@pytest.mark.parametrize(
    ("name", "key"), [(name, key) for name, keys in DEPARTURES.items() for key in keys]
)
def test_a_departure_is_explained_on_its_line_or_above_it(name: str, key: str) -> None:
    lines = shipped_path(name).read_text(encoding="utf-8").splitlines()
    (at,) = [n for n, line in enumerate(lines) if line.strip("# ").startswith(f"{key}:")]
    assert "#" in lines[at] or lines[at - 1].strip().startswith("#")
