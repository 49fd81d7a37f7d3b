"""`CaptionTrainer`: Hugging Face's Seq2SeqTrainer for captioners of every family.

Differences from the plain Trainer, and the reasons:

- The loss is summed over counted tokens, and divided once by their number in the whole optimizer
  step. The plain loss is k times too large with k micro batches for BLIP and VisionEncoderDecoder
  (transformers#47688), and includes BLIP's padding.
- All captions of an image share one forward pass.
- Evaluation generates captions for every family and keeps texts, not logits.
- Frozen parts and batch norms stay in eval mode.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypedDict, Unpack

import torch
from accelerate.utils import DynamoBackend, gather_object
from torch.nn.parallel import DistributedDataParallel
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_utils import EvalLoopOutput, EvalPrediction, denumpify_detensorize
from typing_extensions import override

from captune.errors import DataError
from captune.metrics import METRICS
from captune.models import Captioner, as_captioner, load_captioner
from captune.records import CaptionBatch
from captune.training.hf.arguments import evaluation_decoding, suited_arguments
from captune.training.hf.captioning_pass import (
    CaptionedImage,
    CaptioningPass,
    PassResult,
    join_results,
    scored_images,
)
from captune.training.hf.collator import CaptionCollator, Inputs, inputs_batch
from captune.training.hf.metrics import DEFAULT_NAMES, caption_metrics

_log = logging.getLogger("captune.training")


class TrainerOptions(TypedDict, total=False):
    """Arguments passed to Seq2SeqTrainer.

    Attributes:
        data_collator: Converts rows to inputs; by default `CaptionCollator(captioner)`.
        processing_class: The processor, if `model` is a transformers model.
        compute_metrics: `caption_metrics(...)`, or a function of an `EvalPrediction` whose
            `predictions` are captions and `label_ids` the human captions per image. By default
            the metric of `metric_for_best_model`, if it is a caption metric.
        callbacks: Callbacks added to Trainer's own.
        optimizers: Optimizer and scheduler, which replace those of the arguments.
    """

    data_collator: Any
    processing_class: Any
    compute_metrics: Any
    callbacks: list[Any] | None
    optimizers: tuple[Any, Any]


class CaptionTrainer(Seq2SeqTrainer):
    """Trains a captioner with Trainer's arguments, callbacks, checkpoints and hub support.

    Args:
        model: A captioner, a hub id or folder of one, or a transformers model with its processor
            as `processing_class`.
        args: `Seq2SeqTrainingArguments` or `TrainingArguments`; a copy is used.
        train_dataset: `CaptionRecord`s or rows (see `CaptionCollator`); a plain list works.
        eval_dataset: The same, or a mapping of several by name.
        **others: See `TrainerOptions`.

    Attributes:
        captioner: The model with its tokenizer and image processor.

    Raises:
        ModelError: The model is of an unknown family, or its processor is missing.
        RecipeError: The arguments do not suit captions.
    """

    # Whether a step whose images cannot be read is skipped, instead of ending the training.
    skips_lost_steps = False
    # compute_loss returns a loss that is normalised over the whole optimizer step.
    loss_is_scaled_for_ga = True
    # Trainer's own, untyped.
    control: Any
    optimizer: Any
    lr_scheduler: Any

    def __init__(
        self,
        model: Captioner | str | Path | Any,
        args: Any = None,
        *,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        **others: Unpack[TrainerOptions],
    ) -> None:
        self.captioner = _captioner_of(model, others.get("processing_class"))
        args = suited_arguments(args or Seq2SeqTrainingArguments(output_dir="tmp_trainer"))
        with _own_config(self.captioner.model):
            super().__init__(
                model=self.captioner.model,
                args=args,
                data_collator=others.get("data_collator") or CaptionCollator(self.captioner),
                train_dataset=train_dataset,
                eval_dataset=eval_dataset,
                processing_class=_Processing(self.captioner),
                compute_metrics=others.get("compute_metrics") or _default_metrics(args),
                callbacks=others.get("callbacks"),
                optimizers=others.get("optimizers", (None, None)),
            )
        self._leave_uncompiled()
        self.choose_attention()
        # Makes Trainer count the labels of all micro batches of a step.
        self.model_accepts_loss_kwargs = True

    def _leave_uncompiled(self) -> None:
        """Turn torch.compile off: captioners call the parts of a model, never a compiled whole.

        Around the wrapper of several processes, it would hide that gradients have to be summed.
        """
        plugin = self.accelerator.state.dynamo_plugin
        if plugin is not None and plugin.backend != DynamoBackend.NO:
            _log.warning("torch.compile is not used: captioners do not support it")
            plugin.backend = DynamoBackend.NO

    def choose_attention(self) -> None:
        """Choose how the model computes attention on the device of the arguments."""
        self.captioner.choose_attention(self.args.device)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context for the model's passes, in the precision of the arguments."""
        context: AbstractContextManager[Any] = self.accelerator.autocast()
        return context

    @override
    def compute_loss(
        self,
        model: Any,
        inputs: Inputs,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Compute the summed loss of the inputs, divided by the tokens of the whole step.

        Returns:
            A scalar, or a scalar and a dict with `loss`. It is multiplied by the number of
            processes, because DistributedDataParallel averages gradients.
        """
        batch = inputs_batch(inputs)
        if model.training:
            self.captioner.train_mode()
        with self.autocast():
            loss_sum = self._loss_sum(model, batch)
        if num_items_in_batch is None:
            loss = loss_sum / max(1, batch.num_label_tokens)
        else:
            loss = loss_sum / num_items_in_batch
            if self.args.average_tokens_across_devices:
                loss = loss * self.accelerator.num_processes
        return (loss, {"loss": loss}) if return_outputs else loss

    def _loss_sum(self, model: Any, batch: CaptionBatch) -> torch.Tensor:
        def summed(batch: CaptionBatch) -> torch.Tensor:
            return self.captioner.loss(batch, self.args.label_smoothing_factor).loss_sum

        if not isinstance(model, DistributedDataParallel):
            return summed(batch)
        # It sums only the gradients of operations in the wrapped module's forward.
        own = self.model.__dict__.get("forward")
        self.model.forward = summed
        try:
            loss_sum: torch.Tensor = model(batch)
        finally:
            del self.model.forward
            if own is not None:
                self.model.forward = own
        return loss_sum

    @override
    def _get_num_items_in_batch(self, batch_samples: list[Inputs], device: Any) -> Any:
        count = super()._get_num_items_in_batch(batch_samples, device)
        if count is not None and int(count) == 0:
            if self.skips_lost_steps:
                return count + 1
            raise DataError(
                "no image of an optimizer step has a caption and can be read",
                where="train_dataset",
                fix="check its rows; CaptionCollator(captioner, caption_column=...) names the"
                " key of the captions",
            )
        return count

    @override
    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Return Trainer's loader, without the repeated rows that make all shares equal."""
        with self._uneven_batches():
            return super().get_eval_dataloader(eval_dataset)

    @override
    def get_test_dataloader(self, test_dataset: Any) -> Any:
        """Return Trainer's loader, without the repeated rows that make all shares equal."""
        with self._uneven_batches():
            return super().get_test_dataloader(test_dataset)

    @contextmanager
    def _uneven_batches(self) -> Iterator[None]:
        own = self.accelerator.even_batches
        self.accelerator.even_batches = False
        try:
            yield
        finally:
            self.accelerator.even_batches = own

    @override
    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Compute the loss per token and metrics of generated captions.

        Returns:
            `predictions`: one caption per image in the order of the data, empty if the image
            cannot be read; `label_ids`: the human captions per image.
        """
        if prediction_loss_only is None:
            prediction_loss_only = self.args.prediction_loss_only
        self._place_for_evaluation()
        self.callback_handler.eval_dataloader = dataloader
        decoding = None
        if not prediction_loss_only:
            decoding = evaluation_decoding(self.args, getattr(self, "_gen_kwargs", {}))
        evaluation = CaptioningPass(
            captioner=self.captioner,
            config=decoding,
            autocast=self.autocast,
            prepare=self._prepare_inputs,
            after_batch=self._after_prediction,
        )
        outcome = self._gather(evaluation.run(dataloader))
        metrics = {} if prediction_loss_only else self._score(outcome.images)
        if outcome.num_tokens:
            metrics["loss"] = outcome.loss_sum / outcome.num_tokens
        return EvalLoopOutput(
            predictions=[image.caption for image in outcome.images],
            label_ids=[image.references for image in outcome.images],
            metrics={f"{metric_key_prefix}_{name}": value for name, value in metrics.items()},
            num_samples=len(outcome.images),
        )

    def _score(self, images: Sequence[CaptionedImage]) -> dict[str, Any]:
        scored = scored_images(images)
        if self.compute_metrics is None or not scored:
            return {}
        prediction = EvalPrediction(
            predictions=[image.caption for image in scored],
            label_ids=[image.references for image in scored],
        )
        values: dict[str, Any] = denumpify_detensorize(self.compute_metrics(prediction))
        return values

    def _gather(self, outcome: PassResult) -> PassResult:
        if self.accelerator.num_processes == 1:
            return outcome
        return join_results(gather_object([outcome]))

    def _after_prediction(self) -> None:
        handler = self.callback_handler
        self.control = handler.on_prediction_step(self.args, self.state, self.control)

    def _place_for_evaluation(self) -> None:
        """Move the model to the device, which Trainer omits for half-precision evaluation."""
        if self.is_in_train:
            return
        dtype = torch.float16 if self.args.fp16_full_eval else None
        dtype = torch.bfloat16 if self.args.bf16_full_eval else dtype
        self.model.to(device=self.args.device, dtype=dtype)

    @override
    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Save a plain Hugging Face folder: weights, tokenizer, image processor and arguments."""
        if not self.args.should_save:
            return
        folder = Path(output_dir if output_dir is not None else self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        self.captioner.save(folder)
        torch.save(self.args, folder / TRAINING_ARGS_NAME)

    @override
    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self._load(resume_from_checkpoint)

    @override
    def _load_best_model(self) -> None:
        self._load(self.state.best_model_checkpoint)

    def _load(self, folder: str) -> None:
        """Load the weights of a checkpoint, whatever their names in it.

        transformers 5 saves a ViT's weights under their old names; Trainer looks for the new ones,
        warns, and keeps the weights that it has.
        """
        saved = load_captioner(folder, where="checkpoint").model
        self.model.load_state_dict(saved.state_dict())

    @override
    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        # Trainer pushes config and weights of the checkpoint; CNN captioners also have code.
        if self.is_world_process_zero():
            for code in Path(checkpoint_folder).glob("*.py"):
                (Path(self.args.output_dir) / code.name).write_bytes(code.read_bytes())
        super()._push_from_checkpoint(checkpoint_folder)


class _Processing:
    """A wrapper of the captioner's processor for Trainer and callbacks.

    Given the processor itself, Trainer would overwrite the model's special ids with those of its
    tokenizer, whose start token is not the one that BLIP generates with.
    """

    def __init__(self, captioner: Captioner) -> None:
        self._captioner = captioner
        self._processor = captioner.processor()

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Save tokenizer and image processor."""
        self._captioner.save_processor(Path(save_directory))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # `copy` looks up attributes before __init__ has run
            raise AttributeError(name)
        return getattr(self._processor, name)


def _captioner_of(model: Any, processor: Any) -> Captioner:
    if isinstance(model, Captioner):
        return model
    if isinstance(model, str | Path):
        return load_captioner(model, where="model")
    return as_captioner(model, processor)


def _default_metrics(args: Any) -> Any:
    best = (args.metric_for_best_model or "").removeprefix("eval_")
    if best in METRICS:
        return caption_metrics(*dict.fromkeys((*DEFAULT_NAMES, best)))
    return caption_metrics() if args.predict_with_generate else None


@contextmanager
def _own_config(model: Any) -> Iterator[None]:
    """Undo Trainer's changes to the model's configs, which are saved with the model.

    It sets `use_cache: false`, and replaces the model's `generation_config`, which holds the
    special ids, with that of the arguments.
    """
    missing = object()
    use_cache = model.config.__dict__.get("use_cache", missing)
    generation_config = model.generation_config
    try:
        yield
    finally:
        model.generation_config = generation_config
        if use_cache is missing:
            model.config.__dict__.pop("use_cache", None)
        else:
            model.config.use_cache = use_cache
