"""Every setting of captune, in one place: its type, unit, range, default and meaning.

A recipe is a set of these frozen models, filled from YAML. Unknown keys are errors; `parse.py` adds
a suggestion and the line of the file. Defaults of recipes are defined only here.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from captune.recipe.changes import Nothing, Rerun, Retrain, Warn
from captune.recipe.generate import GenerateConfig
from captune.recipe.value_types import (
    BatchSize,
    BelowOne,
    ColumnValues,
    Fraction,
    HubName,
    LanguageCode,
    Layers,
    LicenseName,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    RetrainSection,
    RunName,
    Section,
    Seed,
    SplitFractions,
    View,
)
from captune.records import TokenizerName


class DataConfig(Section):
    """The images and captions, and how they are read and split."""

    path: str = Field("shapes", description="Folder, file, hub id, or `shapes[:COUNT]`.")
    format: str = Field("auto", description="Format name; auto: detected.")
    image_column: str | None = Field(None, description="Column with the image; null: detected.")
    caption_column: str | None = Field(None, description="Column with captions; null: detected.")
    image_root: str | None = Field(None, description="Folder of the images; null: beside the data.")
    allow_outside: bool = Field(
        False,
        description="Whether image names may lead outside the data set's folder and image_root.",
    )
    revision: str | None = Field(
        None, description="Revision of a hub data set, or version of a Kaggle one; null: newest."
    )
    streaming: bool = Field(
        False,
        description="Read a hub data set, or tar shards at URLs, without a full download.",
    )
    filters: dict[str, ColumnValues] = Field(
        default_factory=dict,
        description="Column: value or values of the rows to keep; others are skipped.",
    )
    fraction: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        1.0,
        description="Share of the training images used, 0..1, drawn with the seed; val, test and"
        " groups stay complete, and a larger share contains the smaller one.",
    )
    split_files: dict[Literal["train", "val", "test"], str] = Field(
        default_factory=dict,
        description="Split: file that lists its image names, one per line.",
    )
    redraw: bool = Field(
        False,
        description="Whether to ignore the data set's own splits and draw new ones.",
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
    # A caption of fewer has no room for a word between its start and its end.
    max_caption_tokens: Retrain[Annotated[int, Field(ge=3, le=4096)]] = Field(
        64,
        description="Captions are truncated to this many tokens; the log reports how many were.",
    )
    lower_case: Retrain[bool] = Field(False, description="Lower-case the training captions.")
    views: Retrain[tuple[View, ...]] = Field(
        ("original",),
        min_length=1,
        description="Views used in training, one drawn per image and epoch. `crop` keeps 80 % of"
        " each side; a crop listed twice is two crops.",
    )
    max_bad_fraction: Fraction = Field(
        0.05, description="The run stops if a larger share of the images is unusable, 0..1."
    )
    max_pixels: Annotated[int, Field(ge=1, le=10_000_000_000)] = Field(
        100_000_000, description="Images with more pixels, according to their header, are skipped."
    )
    decode: Literal["isolated", "inline"] = Field(
        "inline",
        description="inline: decode images in the process that reads them, which is fastest and"
        " right for your own data. isolated: in child processes with limits on memory and time,"
        " for untrusted images; training still uses its workers, after the check has decoded"
        " every image.",
    )
    exact_pixels: Rerun[bool] = Field(
        False,
        description="Whether training resizes images bit for bit like the model's image processor."
        " false: faster; grey levels differ by rounding, and large JPEGs are decoded at a half, a"
        " quarter or an eighth of their size. Captions are generated from exact pixels.",
    )
    pixel_store: Nothing[Literal["auto", "off"]] = Field(
        "auto",
        description="auto: if several epochs decode images, keep their resized pixels in the run's"
        " folder if they fit in half of the free disk space.",
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
        6, description="Attention heads; the width must be a multiple of this."
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
        2, description="Rarer words (`word`) become unknown; rarer pairs (`bpe`) are not merged."
    )


class ModelConfig(RetrainSection):
    """The captioner: one of a checkpoint, a named size, or an encoder with a decoder."""

    checkpoint: str | None = Field(None, description="Hub id or folder of a captioner.")
    size: str | None = Field(None, description="Named size with random weights: `captune models`.")
    encoder: str | None = Field(None, description="Hub id or folder of a vision encoder.")
    decoder: str | None = Field(None, description="Hub id or folder of a text decoder; null: new.")
    new_decoder: NewDecoderConfig = Field(
        default_factory=NewDecoderConfig, description="The decoder when `decoder` is null."
    )
    tokenizer: str | None = Field(
        None, description="Hub id or folder; null: that of the checkpoint or decoder, else trained."
    )
    new_tokenizer: TokenizerConfig = Field(
        default_factory=TokenizerConfig, description="The tokenizer if it is trained."
    )
    revision: str | None = Field(
        None,
        description="Hub revision of checkpoint; null: newest. Any hub id may also be written as"
        " owner/name@REVISION.",
    )
    image_size: Annotated[int, Field(ge=16, le=2048)] | None = Field(
        None,
        description="Side of the square input in pixels, without a crop, for `size` or `encoder`;"
        " null: its default.",
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
            raise ValueError("decoder needs encoder")
        if self.image_size is not None and self.checkpoint is not None:
            raise ValueError("image_size applies to size and encoder; a checkpoint has its own")
        if self.revision is not None and self.encoder is not None:
            raise ValueError(
                "revision applies to checkpoint; pin encoder, decoder and tokenizer as"
                " owner/name@REVISION"
            )
        return self


class TrainConfig(Section):
    """How the model is trained. `step` is an optimizer step; batch sizes count images."""

    engine: Rerun[Literal["loop", "trainer"]] = Field(
        "loop",
        description="loop: captune's own; trainer: Hugging Face's Trainer, with the same losses.",
    )
    epochs: Warn[Annotated[float, Field(gt=0.0, le=1e6)]] = Field(
        3.0, description="Passes over the training images."
    )
    max_steps: Warn[PositiveInt | None] = Field(None, description="Steps; null: from epochs.")
    # Images of similar length share a pass: another size gives the steps of an epoch other images.
    micro_batch_size: Warn[BatchSize] = Field(8, description="Images per device and forward pass.")
    global_batch_size: Retrain[Annotated[int, Field(ge=1, le=1_048_576)]] = Field(
        32, description="Images per optimizer step; the accumulation is derived."
    )
    learning_rate: Warn[PositiveFloat] = Field(5e-5, description="Peak learning rate.")
    vision_lr_scale: Warn[NonNegativeFloat] = Field(
        1.0, description="Learning rate of the vision encoder, relative to the rest."
    )
    weight_decay: Warn[NonNegativeFloat] = Field(0.05, description="AdamW decay, matrices only.")
    vision_weight_decay: Warn[NonNegativeFloat | None] = Field(
        None, description="Weight decay of a pretrained vision encoder; null: weight_decay."
    )
    beta1: Warn[BelowOne] = Field(0.9, description="beta1 of AdamW, 0..1.")
    beta2: Warn[BelowOne] = Field(0.999, description="beta2 of AdamW, 0..1.")
    schedule: Warn[Literal["cosine", "linear", "constant"]] = Field(
        "cosine", description="Course of the learning rate after the warm-up."
    )
    warmup_steps: Warn[NonNegativeInt | None] = Field(
        None, description="Warm-up in steps; null: from warmup_fraction."
    )
    warmup_fraction: Warn[Fraction] = Field(0.05, description="Warm-up as a share of steps, 0..1.")
    min_lr_ratio: Warn[Fraction] = Field(0.0, description="Final rate relative to the peak, 0..1.")
    max_grad_norm: Warn[Annotated[float, Field(gt=0.0, le=1e9)] | None] = Field(
        1.0, description="Gradients are clipped to this norm; null: never."
    )
    label_smoothing: Warn[BelowOne] = Field(0.0, description="Label smoothing of the loss, 0..1.")
    word_dropout: Warn[BelowOne] = Field(
        0.0, description="Share of input tokens replaced by the unknown token, 0..1."
    )
    ema_decay: Warn[BelowOne | None] = Field(
        None,
        description="Decay per step of averaged weights, which are scored and saved; null: off.",
    )
    precision: Rerun[Literal["auto", "fp32", "bf16", "fp16"]] = Field(
        "auto",
        description="auto: bf16 if the hardware supports it, fp16 with loss scaling on GPUs without"
        " it (T4, V100), else fp32.",
    )
    device: Rerun[str] = Field("auto", description="auto, cpu, cuda, cuda:N, xpu or mps.")
    gradient_checkpointing: Rerun[bool] = Field(
        False, description="Use less memory but 30 % more time."
    )
    feature_cache: Rerun[Literal["auto", "memory", "disk", "off"]] = Field(
        "auto",
        description="Where to keep the output of a frozen vision part; auto: if it pays and fits.",
    )
    log_every: Nothing[PositiveInt] = Field(10, description="Steps between lines of log.jsonl.")
    validate_every: Warn[PositiveInt | None] = Field(
        None, description="Steps between validations; null: one per epoch."
    )
    validate_images: Warn[PositiveInt | None] = Field(
        500, description="Number of validation images to caption; null: all."
    )
    validate_beams: Warn[Annotated[int, Field(ge=1, le=64)]] = Field(
        1, description="Beams for the validation captions."
    )
    save_every: Nothing[PositiveInt | None] = Field(
        None, description="Steps between checkpoints; null: one per epoch."
    )
    keep_checkpoints: Nothing[PositiveInt] = Field(
        2, description="Number of newest checkpoints kept, in addition to the best model."
    )
    best_metric: Warn[str] = Field(
        "cider",
        description="Picks the model: `loss`, any metric of generated captions, or `last`: the last"
        " weights, without a choice by the validation split.",
    )
    patience: Warn[PositiveInt | None] = Field(
        None, description="Stop after this many validations without improvement; null: never."
    )
    trackers: Nothing[tuple[Literal["tensorboard", "wandb", "trackio"], ...]] = Field(
        ("tensorboard",), description="Trackers that get the curves, in addition to log.jsonl."
    )
    push_to_hub: Nothing[HubName | None] = Field(
        None,
        description="Hub repository for each new best model and the finished run; null: no push.",
    )
    push_private: Nothing[bool] = Field(True, description="Whether the repository must be private.")
    push_images: Nothing[bool] = Field(
        True,
        description="Whether to push examples and plots that show images of the data set.",
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
    """How the model is scored before and after training."""

    split: Literal["train", "val", "test"] = Field("test", description="Split to score.")
    metrics: tuple[str, ...] = Field(
        ("default", "sacrebleu", "rouge", "wer"),
        description="Metrics or groups: `captune score --help`.",
    )
    tokenize: TokenizerName = Field(
        "pycocoevalcap",
        description="Tokenizer that splits captions into words for metrics, also in validation;"
        " `char` or `zh` for Chinese, `char` or `ja-mecab` for Japanese, `char` for Thai. A change"
        " scores a finished run again without training it again.",
    )
    clip_model: str = Field(
        "openai/clip-vit-base-patch32",
        description="CLIP model of `clip_score`: hub id or folder; tokenizer of `pac_s`.",
    )
    pac_checkpoint: str | None = Field(
        None, description="Weights of `pac_s`: a file from its authors, or a CLIP model's folder."
    )
    bert_model: str | None = Field(
        None, description="Model of `bert_score`: hub id or folder; null: roberta-large."
    )
    baseline: bool = Field(True, description="Also score the model before training.")
    max_images: PositiveInt | None = Field(None, description="Images to score; null: all.")
    max_references: PositiveInt | None = Field(None, description="References per image; null: all.")
    batch_size: Nothing[BatchSize] = Field(16, description="Images captioned at once.")
    bootstrap_samples: Annotated[int, Field(ge=100, le=100_000)] = Field(
        1000, description="Resamples per 95 % interval."
    )


class Recipe(Section):
    """All settings of one run, from the data to a trained and scored captioner."""

    name: RunName = Field("captune-run", description="Name of the run's folder: runs/NAME.")
    description: str = Field("", description="One sentence for `captune recipes` and the report.")
    license: LicenseName | None = Field(None, description="Licence of the model, for its card.")
    language: LanguageCode | None = Field(None, description="Language of the captions, such as en.")
    seed: Retrain[Seed] = Field(42, description="Seed of splits, new weights, order and dropout.")
    data: DataConfig = Field(default_factory=DataConfig, description="Images and captions.")
    model: ModelConfig = Field(default_factory=ModelConfig, description="The captioner.")
    train: TrainConfig = Field(default_factory=TrainConfig, description="How it learns.")
    generate: GenerateConfig = Field(default_factory=GenerateConfig, description="Decoding.")
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig, description="Scoring.")
