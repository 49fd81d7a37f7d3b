"""Every setting of captune, once: its type, unit, range, default and reason.

A recipe is these frozen models filled from YAML. Unknown keys are refused; `parse.py` adds the
did-you-mean and the file's line. There are no other defaults anywhere.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from captune.recipe.changes import Nothing, Rerun, Retrain, Warn
from captune.recipe.value_types import (
    BatchSize,
    BelowOne,
    ColumnValues,
    Fraction,
    HubName,
    Layers,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    RetrainSection,
    RunName,
    Section,
    Seed,
    View,
)
from captune.records import TokenizerName


class SplitFractions(Section):
    """Shares of the images (or groups) that go to each split when the data set gives none."""

    train: Fraction = Field(0.8, description="Share trained on, 0..1.")
    val: Fraction = Field(0.1, description="Share that picks the checkpoint, 0..1.")
    test: Fraction = Field(0.1, description="Share that is scored, 0..1.")

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        if abs(self.train + self.val + self.test - 1.0) > 1e-6:
            total = self.train + self.val + self.test
            raise ValueError(f"train + val + test must be 1, not {total:g}")
        return self


class DataConfig(Section):
    """Which images and captions, and how they are split and read."""

    path: str = Field("shapes", description="Folder, file, hub id, or `shapes[:COUNT]`.")
    format: str = Field("auto", description="Format name; `auto` looks at the data.")
    image_column: str | None = Field(None, description="Column with the image; null: detected.")
    caption_column: str | None = Field(None, description="Column with captions; null: detected.")
    image_root: str | None = Field(None, description="Folder of the images; null: beside the data.")
    allow_outside: bool = Field(
        False,
        description="Whether image names may lead out of the data set's folder and image_root.",
    )
    revision: str | None = Field(
        None, description="Revision of a hub data set, version of a Kaggle one; null: newest."
    )
    streaming: bool = Field(
        False,
        description="Read a hub data set, or tar shards at URLs, without downloading them whole.",
    )
    filters: dict[str, ColumnValues] = Field(
        default_factory=dict,
        description="Column: the value, or values, of the rows kept; others are skipped.",
    )
    fraction: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        1.0,
        description="Share of the training images used, 0..1, drawn with the seed; val, test and"
        " groups stay whole, and a larger share contains the smaller one.",
    )
    split_files: dict[Literal["train", "val", "test"], str] = Field(
        default_factory=dict,
        description="Lists of image names, one per line, by split.",
    )
    redraw: bool = Field(
        False,
        description="Whether the data set's own splits are set aside and drawn anew.",
    )
    split_by: Literal["image", "group"] = Field(
        "image", description="The unit that a split keeps together."
    )
    split_fractions: SplitFractions = Field(
        default_factory=SplitFractions, description="Used when the data set gives no splits."
    )
    max_captions: Retrain[PositiveInt | None] = Field(
        None, description="Captions per image used in training; null: all."
    )
    max_caption_tokens: Retrain[Annotated[int, Field(ge=1, le=4096)]] = Field(
        64,
        description="Captions are truncated to this many tokens; the log reports how many were.",
    )
    lower_case: Retrain[bool] = Field(False, description="Lower-case the training captions.")
    views: Retrain[tuple[View, ...]] = Field(
        ("original",),
        min_length=1,
        description="Views trained on, one drawn per image and epoch. `crop` keeps 80 % of each"
        " side; a crop listed twice is two crops.",
    )
    max_bad_fraction: Fraction = Field(
        0.05, description="The run stops when a larger share of the images is unusable, 0..1."
    )
    max_pixels: Annotated[int, Field(ge=1, le=10_000_000_000)] = Field(
        100_000_000, description="Images with more pixels, as their header says, are skipped."
    )
    decode: Literal["isolated", "inline"] = Field(
        "inline",
        description="inline: images are decoded in the process that reads them, which is fastest"
        " and right for data of your own. isolated: in child processes with limits of memory and"
        " time, for images from strangers; training itself keeps its workers, which decode what"
        " the check has decoded before.",
    )
    num_workers: Nothing[Annotated[int, Field(ge=0, le=1024)] | None] = Field(
        None, description="Processes that decode images; 0: none; null: one per core, at most 8."
    )


class NewDecoderConfig(RetrainSection):
    """A text decoder trained from scratch on top of `model.encoder`."""

    kind: Literal["gpt2", "bert"] = Field("gpt2", description="gpt2: pre-norm; bert: post-norm.")
    width: Annotated[int, Field(ge=1, le=16_384)] = Field(
        384, description="Width of hidden states."
    )
    layers: Layers = Field(2, description="Decoder layers.")
    heads: Annotated[int, Field(ge=1, le=1024)] = Field(
        6, description="Attention heads; the width is a multiple of it."
    )
    dropout: Fraction = Field(0.1, description="Dropout of the decoder, 0..1.")
    bridge_layers: Annotated[int, Field(ge=0, le=256)] = Field(
        0, description="Transformer layers between a convolutional encoder and the decoder."
    )
    feature_dropout: Fraction = Field(
        0.0, description="Dropout on the convolutional encoder's features, 0..1."
    )

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not divisible by heads {self.heads}")
        return self


class TokenizerConfig(RetrainSection):
    """A tokenizer trained on the training captions."""

    kind: Literal["word", "bpe"] = Field("bpe", description="Whole words, or byte pairs.")
    vocab_size: Annotated[int, Field(ge=16, le=1_000_000)] = Field(
        8000, description="Maximum number of tokens, special ones included."
    )
    min_count: PositiveInt = Field(
        2, description="Rarer words (`word`) are unknown; rarer pairs (`bpe`) are not merged."
    )


class ModelConfig(RetrainSection):
    """Which captioner: a checkpoint, a named size, or an encoder with a decoder; give one."""

    checkpoint: str | None = Field(None, description="Hub id or folder of a captioner.")
    size: str | None = Field(None, description="Named size with random weights: `captune models`.")
    encoder: str | None = Field(None, description="Hub id or folder of a vision encoder.")
    decoder: str | None = Field(None, description="Hub id or folder of a text decoder; null: new.")
    new_decoder: NewDecoderConfig = Field(
        default_factory=NewDecoderConfig, description="The decoder when `decoder` is null."
    )
    tokenizer: str | None = Field(
        None, description="Hub id or folder; null: the checkpoint's or decoder's own, else trained."
    )
    new_tokenizer: TokenizerConfig = Field(
        default_factory=TokenizerConfig, description="The tokenizer when it is trained."
    )
    revision: str | None = Field(
        None,
        description="Hub revision of checkpoint; null: newest. Any hub id may also be written"
        " owner/name@REVISION.",
    )
    image_size: Annotated[int, Field(ge=16, le=2048)] | None = Field(
        None,
        description="Side of a new or joined model's square input in pixels, without a crop; null:"
        " its own.",
    )
    freeze: tuple[str, ...] = Field(
        (),
        description="Parts that are not trained: vision, text, embeddings, cross_attention,"
        " vision.first-K, text.first-K.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [k for k in ("checkpoint", "size", "encoder") if getattr(self, k) is not None]
        if len(given) > 1:
            raise ValueError(f"give one of checkpoint, size and encoder, not {' and '.join(given)}")
        if self.decoder is not None and self.encoder is None:
            raise ValueError("decoder needs encoder beside it")
        if self.image_size is not None and self.checkpoint is not None:
            raise ValueError("image_size belongs to size and encoder; a checkpoint has its own")
        if self.revision is not None and self.encoder is not None:
            raise ValueError(
                "revision is that of checkpoint; pin encoder, decoder and tokenizer as"
                " owner/name@REVISION"
            )
        return self


class GenerateConfig(Section):
    """How captions are decoded; the names are Hugging Face's."""

    num_beams: Annotated[int, Field(ge=1, le=64)] = Field(3, description="Beams; 1: greedy.")
    max_new_tokens: Annotated[int, Field(ge=1, le=4096)] = Field(
        30, description="Maximum new tokens per caption."
    )
    min_new_tokens: Annotated[int, Field(ge=0, le=4096)] = Field(
        0, description="Minimum new tokens per caption."
    )
    length_penalty: Annotated[float, Field(ge=-10.0, le=10.0)] = Field(
        1.0, description="Beams are ranked by log-probability / length ** this."
    )
    early_stopping: bool = Field(
        False, description="Stop an image's search once num_beams captions have ended."
    )
    no_repeat_ngram_size: Annotated[int, Field(ge=0, le=4096)] = Field(
        0, description="Length of word-piece sequences that may occur only once; 0: off."
    )
    repetition_penalty: PositiveFloat = Field(
        1.0, description="Divides the scores of tokens already used; 1: off."
    )
    do_sample: bool = Field(False, description="Sample instead of taking the best token.")
    temperature: PositiveFloat = Field(
        1.0, description="Sampling: below 1, likely tokens become likelier."
    )
    top_k: NonNegativeInt = Field(0, description="Sampling: from the k likeliest tokens; 0: all.")
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        1.0, description="Sampling: from the fewest tokens that reach this probability, 0..1."
    )
    seed: Seed = Field(0, description="Seed of sampling.")
    prompt: str = Field("", description="Text that every caption starts with.")

    @model_validator(mode="after")
    def _beams_or_samples(self) -> Self:
        if self.do_sample and self.num_beams > 1:
            raise ValueError("do_sample needs num_beams: 1")
        return self


class TrainConfig(Section):
    """How the model learns. `step` is an optimizer step; batch sizes count images."""

    engine: Rerun[Literal["loop", "trainer"]] = Field(
        "loop",
        description="Who takes the steps: captune's own loop or Hugging Face's Trainer; the"
        " losses are the same.",
    )
    epochs: Warn[Annotated[float, Field(gt=0.0, le=1e6)]] = Field(
        3.0, description="Passes over the training images."
    )
    max_steps: Warn[PositiveInt | None] = Field(None, description="All steps; null: from epochs.")
    micro_batch_size: Rerun[BatchSize] = Field(8, description="Images per device and pass.")
    global_batch_size: Retrain[Annotated[int, Field(ge=1, le=1_048_576)]] = Field(
        32, description="Images per optimizer step; the accumulation is derived."
    )
    learning_rate: Warn[PositiveFloat] = Field(5e-5, description="Peak learning rate.")
    vision_lr_scale: Warn[NonNegativeFloat] = Field(
        1.0, description="The vision encoder's learning rate over that of the rest."
    )
    weight_decay: Warn[NonNegativeFloat] = Field(0.05, description="AdamW's, on matrices only.")
    vision_weight_decay: Warn[NonNegativeFloat | None] = Field(
        None, description="That of a pretrained vision encoder; null: weight_decay."
    )
    beta1: Warn[BelowOne] = Field(0.9, description="AdamW's beta1, 0..1.")
    beta2: Warn[BelowOne] = Field(0.999, description="AdamW's beta2, 0..1.")
    schedule: Warn[Literal["cosine", "linear", "constant"]] = Field(
        "cosine", description="Learning rate after the warm-up."
    )
    warmup_steps: Warn[NonNegativeInt | None] = Field(
        None, description="Steps of warm-up; null: from warmup_fraction."
    )
    warmup_fraction: Warn[Fraction] = Field(0.05, description="Warm-up as a share of steps, 0..1.")
    min_lr_ratio: Warn[Fraction] = Field(0.0, description="Final rate over the peak rate, 0..1.")
    max_grad_norm: Warn[Annotated[float, Field(gt=0.0, le=1e9)] | None] = Field(
        1.0, description="Gradients are clipped to this norm; null: never."
    )
    label_smoothing: Warn[BelowOne] = Field(0.0, description="Label smoothing of the loss, 0..1.")
    word_dropout: Warn[BelowOne] = Field(
        0.0, description="Share of input tokens replaced by the unknown token, 0..1."
    )
    ema_decay: Warn[BelowOne | None] = Field(
        None,
        description="Decay per step of averaged weights, which are used then; null: off.",
    )
    precision: Rerun[Literal["auto", "fp32", "bf16", "fp16"]] = Field(
        "auto",
        description="auto: bf16 where the hardware computes in it, fp16 with loss scaling on GPUs"
        " without (T4, V100), else fp32.",
    )
    device: Rerun[str] = Field("auto", description="auto, cpu, cuda, cuda:N, xpu or mps.")
    gradient_checkpointing: Rerun[bool] = Field(
        False, description="Less memory for 30 % more time."
    )
    feature_cache: Rerun[Literal["auto", "memory", "disk", "off"]] = Field(
        "auto",
        description="Keep the frozen vision part's output; auto: when it pays and fits.",
    )
    log_every: Nothing[PositiveInt] = Field(10, description="Steps per line of log.jsonl.")
    validate_every: Warn[PositiveInt | None] = Field(
        None, description="Steps between validations; null: one per epoch."
    )
    validate_images: Warn[PositiveInt | None] = Field(
        500, description="Validation images that captions are generated for; null: all."
    )
    validate_beams: Warn[Annotated[int, Field(ge=1, le=64)]] = Field(
        1, description="Beams of the validation captions."
    )
    save_every: Nothing[PositiveInt | None] = Field(
        None, description="Steps between checkpoints; null: one per epoch."
    )
    keep_checkpoints: Nothing[PositiveInt] = Field(
        2, description="Newest checkpoints kept; the best model is kept besides."
    )
    best_metric: Warn[str] = Field(
        "cider",
        description="Picks the model: `loss`, any metric of generated captions, or `last` for no"
        " choice: the last weights, so that the validation split stays unused.",
    )
    patience: Warn[PositiveInt | None] = Field(
        None, description="Stop after this many validations without improvement; null: never."
    )
    trackers: Nothing[tuple[Literal["tensorboard", "wandb", "trackio"], ...]] = Field(
        ("tensorboard",), description="Where curves are sent besides log.jsonl."
    )
    push_to_hub: Nothing[HubName | None] = Field(
        None,
        description="Hub repository that gets each new best model, and in the end the whole run;"
        " null: nothing leaves this machine.",
    )
    push_private: Nothing[bool] = Field(True, description="Whether it must be private.")
    push_images: Nothing[bool] = Field(
        True,
        description="Whether examples and plots that show images of the data set are pushed too.",
    )

    @model_validator(mode="after")
    def _batches_divide(self) -> Self:
        if self.global_batch_size % self.micro_batch_size:
            raise ValueError(
                f"global_batch_size {self.global_batch_size} is not a multiple of"
                f" micro_batch_size {self.micro_batch_size}"
            )
        return self


class EvaluateConfig(Section):
    """What is scored before and after training."""

    split: Literal["train", "val", "test"] = Field("test", description="Split that is scored.")
    metrics: tuple[str, ...] = Field(
        ("default", "sacrebleu", "rouge", "wer"),
        description="Metric names or groups: `captune score --help`.",
    )
    tokenize: TokenizerName = Field(
        "pycocoevalcap",
        description="What cuts captions into the words that metrics count, in validation too;"
        " `char` or `zh` for Chinese, `char` or `ja-mecab` for Japanese, `char` for Thai. A change"
        " scores a finished run again and does not train it again.",
    )
    clip_model: str = Field(
        "openai/clip-vit-base-patch32",
        description="CLIP model of `clip_score`: hub id or folder; tokenizer of `pac_s`.",
    )
    pac_checkpoint: str | None = Field(
        None, description="Weights of `pac_s`: its authors' file, or a CLIP model's folder."
    )
    bert_model: str | None = Field(
        None, description="Model of `bert_score`: hub id or folder; null: roberta-large."
    )
    baseline: bool = Field(True, description="Also score the model as it was before training.")
    max_images: PositiveInt | None = Field(None, description="Images scored; null: all.")
    max_references: PositiveInt | None = Field(None, description="References per image; null: all.")
    batch_size: Nothing[BatchSize] = Field(16, description="Images captioned at once.")
    bootstrap_samples: Annotated[int, Field(ge=100, le=100_000)] = Field(
        1000, description="Resamples behind each 95 % interval."
    )


class Recipe(Section):
    """One whole run: data in, better captioner out, with evidence."""

    name: RunName = Field("captune-run", description="Name of the run's folder: runs/NAME.")
    description: str = Field("", description="One sentence for `captune recipes` and the report.")
    seed: Retrain[Seed] = Field(42, description="Seed of splits, new weights, order and dropout.")
    data: DataConfig = Field(default_factory=DataConfig, description="Images and captions.")
    model: ModelConfig = Field(default_factory=ModelConfig, description="The captioner.")
    train: TrainConfig = Field(default_factory=TrainConfig, description="How it learns.")
    generate: GenerateConfig = Field(default_factory=GenerateConfig, description="Decoding.")
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig, description="Scoring.")
