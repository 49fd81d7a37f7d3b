"""Evaluation by a CaptionTrainer: generated captions, their metrics, and early stopping."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import (
    EarlyStoppingCallback,
    GenerationConfig,
    TrainerCallback,
    TrainingArguments,
)

import captune
from captune.data import decode_image
from captune.errors import MetricError, RecipeError
from captune.training import CaptionTrainer, caption_metrics
from support.runs.trainer_script import arguments


@pytest.mark.slow
def test_callbacks_and_early_stopping_work_as_usual(tmp_path, shapes, build) -> None:
    seen: list[str] = []

    class Watch(TrainerCallback):
        def on_evaluate(self, args, state, control, metrics, **kwargs) -> None:
            seen.append(f"{state.global_step} {sorted(m for m in metrics if 'wer' in m)}")
            assert kwargs["processing_class"].decode is not None

    trainer = CaptionTrainer(
        build(),
        arguments(
            tmp_path,
            max_steps=9,
            learning_rate=1e-12,
            eval_strategy="steps",
            eval_steps=1,
            save_strategy="steps",
            save_steps=1,
            save_total_limit=2,
            load_best_model_at_end=True,
            metric_for_best_model="eval_wer",
            generation_max_length=5,
        ),
        train_dataset=shapes[0],
        eval_dataset=shapes[1][:2],
        callbacks=[Watch(), EarlyStoppingCallback(early_stopping_patience=2)],
    )
    # TrainingArguments would look for the highest error rate.
    assert trainer.args.greater_is_better is False
    trainer.train()
    assert seen == [f"{step} ['eval_wer']" for step in (1, 2, 3)]


def test_plain_training_arguments_work(tmp_path, shapes, build) -> None:
    args = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=1,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        metric_for_best_model="eval_bleu_4",
    )
    trainer = CaptionTrainer(build(), args, train_dataset=shapes[0][:8], eval_dataset=shapes[1][:2])
    trainer.train()
    metrics = trainer.evaluate(max_new_tokens=4)
    assert {"eval_loss", "eval_bleu_4", "eval_cider", "eval_distinct_captions"} <= set(metrics)
    assert args.remove_unused_columns is True


def test_a_users_own_metric_gets_texts_and_no_logits(tmp_path, shapes, build) -> None:
    received: list[Any] = []

    def measure(prediction) -> dict[str, float]:
        captions, references = prediction
        received.extend((captions, references))
        return {"words": sum(len(caption.split()) for caption in captions) / len(captions)}

    records = shapes[1]
    trainer = CaptionTrainer(
        build(), arguments(tmp_path), eval_dataset=records, compute_metrics=measure
    )
    metrics = trainer.evaluate(max_new_tokens=5, num_beams=2)
    captions, references = received
    expected = captune.inference.ImageCaptioner(trainer.captioner, _cpu()).caption(
        [decode_image(r.image) for r in records], max_new_tokens=5, num_beams=2
    )
    assert captions == [p.caption for p in expected]
    assert references == [r.captions for r in records]
    assert metrics["eval_words"] == sum(len(c.split()) for c in captions) / len(captions)


def _cpu():
    from captune.hardware import choose_hardware

    return choose_hardware("cpu", "fp32")


def test_several_evaluation_sets_are_named(tmp_path, shapes, build) -> None:
    trainer = CaptionTrainer(
        build(),
        arguments(tmp_path, generation_max_length=4),
        eval_dataset={"near": shapes[1][:2], "far": shapes[1][2:4]},
        compute_metrics=caption_metrics("bleu_1"),
    )
    metrics = trainer.evaluate()
    assert {"eval_near_bleu_1", "eval_far_bleu_1", "eval_near_loss"} <= set(metrics)


def test_rows_of_one_image_id_are_one_image_with_all_their_references(
    tmp_path, shapes, build
) -> None:
    record = shapes[1][0]
    together = [record]
    apart = [
        {"image": record.image, "caption": caption, "image_id": "a"} for caption in record.captions
    ]
    trainer = CaptionTrainer(
        build(), arguments(tmp_path), compute_metrics=caption_metrics("bleu_1", "rouge_l")
    )
    one, many = (trainer.evaluate(rows, max_new_tokens=6) for rows in (together, apart))
    for name in ("eval_loss", "eval_bleu_1", "eval_rouge_l"):
        assert many[name] == pytest.approx(one[name], abs=1e-5), name


def test_evaluation_decodes_by_generation_config_and_by_the_arguments_of_the_call(
    tmp_path, shapes, build
) -> None:
    from captune.training.hf.arguments import evaluation_decoding

    config = GenerationConfig(num_beams=3, max_new_tokens=7, length_penalty=0.5, eos_token_id=3)
    args = arguments(tmp_path, generation_config=config)
    decoding = evaluation_decoding(args, {})
    assert (decoding.num_beams, decoding.max_new_tokens, decoding.length_penalty) == (3, 7, 0.5)
    assert evaluation_decoding(args, {"num_beams": 1}).num_beams == 1
    plain = evaluation_decoding(arguments(tmp_path), {"max_length": 20})
    assert (plain.num_beams, plain.max_new_tokens) == (1, 19)
    with pytest.raises(RecipeError, match="penalty_alpha"):
        evaluation_decoding(args, {"penalty_alpha": 0.5})


def test_a_generation_config_does_not_change_the_models_special_ids(
    tmp_path, shapes, build
) -> None:
    captioner = build("vit-gpt2-tiny")
    start = captioner.bos_token_id
    CaptionTrainer(captioner, arguments(tmp_path, generation_config=GenerationConfig(num_beams=2)))
    assert captioner.bos_token_id == start
    assert captioner.model.generation_config.decoder_start_token_id == start


def test_a_broken_image_is_skipped_and_the_others_keep_their_positions(
    tmp_path, shapes, build, caplog
) -> None:
    rows = [{"image": r.image, "captions": r.captions} for r in shapes[1][:3]]
    rows[1] = {"image": b"GIF89a nothing", "captions": ["a red circle"]}
    captioner = build()
    trainer = CaptionTrainer(
        captioner, arguments(tmp_path), compute_metrics=caption_metrics("bleu_1")
    )
    whole = trainer.predict([rows[0], rows[2]], max_new_tokens=5)
    broken = trainer.predict(rows, max_new_tokens=5)
    assert broken.predictions == [whole.predictions[0], "", whole.predictions[1]]
    assert broken.metrics["test_loss"] == pytest.approx(whole.metrics["test_loss"], abs=1e-5)
    assert broken.metrics["test_bleu_1"] == pytest.approx(whole.metrics["test_bleu_1"])
    assert "skipped in training and scores" in caplog.text


def test_images_to_caption_need_no_captions(tmp_path, shapes, build) -> None:
    trainer = CaptionTrainer(build(), arguments(tmp_path))
    images = [{"image": decode_image(r.image)} for r in shapes[1][:2]]
    output = trainer.predict(images, max_new_tokens=5)
    assert len(output.predictions) == 2
    assert "test_loss" not in output.metrics


def test_unknown_metrics_are_refused_before_any_work() -> None:
    with pytest.raises(MetricError, match="did you mean 'cider'"):
        caption_metrics("cidr")
