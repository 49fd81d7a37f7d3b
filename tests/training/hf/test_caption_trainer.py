"""CaptionTrainer, used as in a user's own script."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import HfHubHTTPError
from safetensors.torch import load_file
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import (
    AutoProcessor,
    BlipForConditionalGeneration,
    TrainerCallback,
)

import captune
from captune.data import decode_image
from captune.errors import DataError, ModelError
from captune.models import Captioner, load_captioner
from captune.training import CaptionTrainer, caption_metrics
from support.hub.repos import READER, HubServer
from support.models.tiny_models import ONE_PER_FAMILY
from support.runs.trainer_script import arguments, history


class Photos(Dataset):
    """A plain torch Dataset of rows, as users write it."""

    def __init__(self, records) -> None:
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, place: int) -> dict:
        record = self.records[place]
        return {"image": decode_image(record.image), "text": list(record.captions)}


@pytest.mark.slow
def test_a_script_trains_evaluates_saves_and_captions(tmp_path, shapes, build) -> None:
    train_records, val_records = shapes
    start = tmp_path / "start"
    build("git-tiny").save(start)

    trainer = CaptionTrainer(
        str(start),
        arguments(
            tmp_path / "out",
            max_steps=6,
            eval_strategy="steps",
            eval_steps=3,
            save_strategy="steps",
            save_steps=3,
            load_best_model_at_end=True,
            metric_for_best_model="eval_cider",
            generation_max_length=9,
        ),
        train_dataset=Photos(train_records),
        eval_dataset=val_records,
        compute_metrics=caption_metrics("cider", "wer"),
    )
    trainer.train()
    trainer.save_model()

    assert len(history(trainer, "eval_cider")) == len(history(trainer, "eval_wer")) == 2
    assert trainer.state.best_metric == max(history(trainer, "eval_cider"))
    images = [decode_image(record.image) for record in val_records[:2]]
    loaded = captune.load(tmp_path / "out", device="cpu", precision="fp32")
    predictions = loaded.caption(images, num_beams=1, max_new_tokens=8)
    assert trainer.predict(val_records[:2]).predictions == [p.caption for p in predictions]


@pytest.mark.parametrize("size", ONE_PER_FAMILY)
@pytest.mark.slow
def test_one_batch_of_four_and_four_of_one_are_the_same_steps(
    tmp_path, shapes, build, size
) -> None:
    # 6 images: the second step has only two. Images have different numbers of captions.
    records = [_with_captions(r, 1 + n % 3) for n, r in enumerate(shapes[0][:6])]
    runs = []
    for batch, accumulation in ((4, 1), (1, 4), (2, 2)):
        folder = tmp_path / str(batch)
        args = arguments(
            folder,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulation,
            max_steps=4,
            # AdamW would amplify the rounding errors of gradients that are nearly zero.
            optim="sgd",
            learning_rate=0.05,
        )
        trainer = CaptionTrainer(build(size), args, train_dataset=records)
        trainer.train()
        trainer.save_model(str(folder))
        runs.append((trainer, load_file(folder / "model.safetensors")))
    (whole, weights), *others = runs
    for trainer, other_weights in others:
        for name in ("loss", "grad_norm"):
            assert history(trainer, name) == pytest.approx(history(whole, name), abs=1e-5), name
        for name, weight in weights.items():
            torch.testing.assert_close(other_weights[name], weight, atol=1e-5, rtol=0, msg=name)


def test_the_first_loss_is_the_mean_over_tokens_of_plain_transformers(
    tmp_path, shapes, build
) -> None:
    captioner = build("blip-tiny")
    records = [_with_captions(r, 1 + n % 3) for n, r in enumerate(shapes[0][:4])]
    expected = _plain_mean_loss(captioner, records)
    args = arguments(
        tmp_path, per_device_train_batch_size=1, gradient_accumulation_steps=4, max_steps=1
    )
    trainer = CaptionTrainer(captioner, args, train_dataset=records, eval_dataset=records)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, abs=1e-5)
    trainer.train()
    assert history(trainer, "loss") == pytest.approx([expected], abs=1e-5)


def _with_captions(record, count: int):
    return replace(record, captions=record.captions[:count])


def _plain_mean_loss(captioner: Captioner, records) -> float:
    """Compute the loss by BLIP's own decoder, with one caption per row and no padding."""
    total, tokens = 0.0, 0
    model = captioner.model.eval()
    for record in records:
        pixels = captioner.pixel_values([decode_image(record.image)])
        states = model.vision_model(pixels).last_hidden_state
        for caption in record.captions:
            words = captioner.tokenizer(caption, add_special_tokens=False).input_ids
            ids = torch.tensor([[captioner.bos_token_id, *words, captioner.eos_token_id]])
            logits = model.text_decoder(input_ids=ids, encoder_hidden_states=states).logits
            losses = functional.cross_entropy(logits[0, :-1], ids[0, 1:], reduction="sum")
            total, tokens = total + losses.item(), tokens + ids.shape[1] - 1
    return total / tokens


def test_a_transformers_model_with_its_processor_is_trained_in_place(
    tmp_path, shapes, build
) -> None:
    build("blip-tiny").save(tmp_path / "start")
    model = BlipForConditionalGeneration.from_pretrained(tmp_path / "start")
    model.vision_model.requires_grad_(False)
    processor = AutoProcessor.from_pretrained(tmp_path / "start")
    before = model.vision_model.embeddings.class_embedding.detach().clone()
    trainer = CaptionTrainer(
        model, arguments(tmp_path), train_dataset=shapes[0], processing_class=processor
    )
    trainer.train()
    assert trainer.model is model
    assert torch.equal(model.vision_model.embeddings.class_embedding, before)
    assert history(trainer, "loss")[1] < history(trainer, "loss")[0]


def test_a_model_without_its_processor_is_refused(tmp_path, build) -> None:
    with pytest.raises(ModelError, match="is not a processor with a tokenizer") as error:
        CaptionTrainer(build("blip-tiny").model, arguments(tmp_path))
    assert "AutoProcessor" in error.value.fix


@pytest.mark.slow
def test_training_changes_no_special_id_and_no_config(tmp_path, shapes, build) -> None:
    for size in ONE_PER_FAMILY:
        captioner = build(size)
        captioner.save(tmp_path / size / "before")
        trainer = CaptionTrainer(
            captioner, arguments(tmp_path / size, max_steps=1), train_dataset=shapes[0]
        )
        trainer.train()
        trainer.save_model(str(tmp_path / size / "after"))
        for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
            before, after = (tmp_path / size / when / name for when in ("before", "after"))
            assert json.loads(after.read_text()) == json.loads(before.read_text()), (size, name)
        names = [{p.name for p in (tmp_path / size / w).iterdir()} for w in ("before", "after")]
        assert names[1] - names[0] == {"training_args.bin"}


@pytest.mark.slow
def test_resuming_from_a_checkpoint_ends_with_the_same_weights(tmp_path, shapes, build) -> None:
    settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}

    def trainer(folder: Path) -> CaptionTrainer:
        args = arguments(folder, train_sampling_strategy="random", **settings)
        return CaptionTrainer(build("vit-gpt2-tiny"), args, train_dataset=shapes[0])

    trainer(tmp_path / "whole").train()
    again = trainer(tmp_path / "again")
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    whole, resumed = (
        load_file(tmp_path / name / "checkpoint-4" / "model.safetensors")
        for name in ("whole", "again")
    )
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_training_without_any_caption_is_an_error(tmp_path, shapes, build) -> None:
    rows = [{"image": r.image} for r in shapes[0][:8]]
    trainer = CaptionTrainer(build(), arguments(tmp_path), train_dataset=rows)
    with pytest.raises(DataError, match="no image of an optimizer step has a caption"):
        trainer.train()


def test_frozen_parts_stay_in_eval_mode_and_keep_their_weights(tmp_path, shapes, build) -> None:
    captioner = build("mobilenet-gpt2-tiny")
    captioner.freeze(["vision"])
    before = {n: b.clone() for n, b in captioner.model.encoder.backbone.state_dict().items()}
    CaptionTrainer(captioner, arguments(tmp_path), train_dataset=shapes[0]).train()
    after = captioner.model.encoder.backbone.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.slow
@pytest.mark.parametrize("size", ONE_PER_FAMILY)
def test_gradient_checkpointing_changes_no_loss(tmp_path, shapes, build, size) -> None:
    losses = []
    for checkpointing in (False, True):
        args = arguments(tmp_path / str(checkpointing), gradient_checkpointing=checkpointing)
        trainer = CaptionTrainer(build(size), args, train_dataset=shapes[0])
        trainer.train()
        losses.append(history(trainer, "loss"))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


class _PushesBeforeTheNextStep(TrainerCallback):
    """Waits for the push of a step: the next one replaces the files that a thread uploads."""

    def __init__(self, trainer: CaptionTrainer) -> None:
        self._trainer = trainer

    def on_step_begin(self, *_: object, **__: object) -> None:
        if self._trainer.push_in_progress is not None:
            self._trainer.push_in_progress.wait_until_done()


@pytest.mark.slow
@pytest.mark.parametrize("size", ["blip-tiny", "mobilenet-gpt2-tiny"])
def test_a_model_pushed_by_a_script_can_be_loaded_by_its_id(
    hub: HubServer, tmp_path, shapes, build, size
) -> None:
    captioner = build(size)
    trainer = CaptionTrainer(
        captioner,
        arguments(
            tmp_path / "out",
            push_to_hub=True,
            hub_model_id="captions",
            hub_private_repo=True,
            save_strategy="steps",
            save_steps=1,
            hub_always_push=True,
        ),
        train_dataset=shapes[0],
    )
    trainer.add_callback(_PushesBeforeTheNextStep(trainer))
    trainer.train()
    trainer.push_to_hub()
    repo = hub.repos["models/me/captions"]
    assert repo.private
    assert repo.messages == [
        "initial commit",
        "Training in progress, step 1",
        "Training in progress, step 2",
        "End of training",
    ]
    # Config, weights and processor are pushed together each time, not only at the end.
    first, second, last = list(repo.commits.values())[1:]
    assert first["model.safetensors"] != second["model.safetensors"] == last["model.safetensors"]
    needed = {"config.json", "tokenizer.json", "preprocessor_config.json"}
    needed |= {"conv_captioner.py"} if size == "mobilenet-gpt2-tiny" else set()
    assert needed <= set(first)
    assert "README.md" in last
    assert not any(name.startswith("checkpoint-") for name in last)
    loaded = captune.load("me/captions", device="cpu")
    images = [decode_image(record.image) for record in shapes[1][:3]]
    ours = captune.load(tmp_path / "out", device="cpu").caption(images, max_new_tokens=8)
    assert loaded.caption(images, max_new_tokens=8) == ours
    trained = captioner.model.state_dict()
    pushed = load_captioner("me/captions").model.state_dict()
    assert all(torch.equal(weight, trained[name]) for name, weight in pushed.items())


def test_a_token_without_write_access_is_reported_before_training(
    hub: HubServer, tmp_path, shapes, build, monkeypatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", READER)
    args = arguments(tmp_path, push_to_hub=True, hub_model_id="captions")
    with pytest.raises(HfHubHTTPError, match="rights to write"):
        CaptionTrainer(build(), args, train_dataset=shapes[0])
