"""A recipe trained by Hugging Face's Trainer: `train.engine: trainer`.

Trainer runs the steps; their content, the optimizer, the schedule, validation, checkpoints and log
follow the recipe, as in captune's own loop, so both engines log the same losses.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from accelerate.utils import gather_object, set_seed
from torch.optim.lr_scheduler import LambdaLR
from transformers import PrinterCallback, Seq2SeqTrainingArguments, TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME
from typing_extensions import override

from captune.errors import ModelError
from captune.hardware import (
    device_random_states,
    is_out_of_memory,
    set_device_random_states,
)
from captune.models import Captioner
from captune.progress import Progress, Say, no_progress, print_line
from captune.recipe import Recipe
from captune.training.batches.feeding import drop_words
from captune.training.checkpoint import keeping_state, write_checkpoint
from captune.training.hf.arguments import check_trainer_settings, recipe_arguments
from captune.training.hf.caption_trainer import CaptionTrainer
from captune.training.hf.collator import Inputs, batch_inputs, inputs_batch
from captune.training.hf.planned_batches import Key, PlannedSteps, key_loader, planned_inputs
from captune.training.hf.saved_state import AVERAGE, find_checkpoint, reading
from captune.training.launchers import refuse_split_model
from captune.training.setup import (
    Splits,
    Start,
    TrainResult,
    launched,
    start_run,
)
from captune.training.steps.divergence import refuse_divergence
from captune.training.steps.optimizer import learning_rate, make_optimizer
from captune.training.steps.reduce import sum_numbers


def train_by_trainer(
    captioner: Captioner,
    records: Splits,
    *,
    recipe: Recipe,
    run_folder: Path,
    resume: bool = False,
    say: Say = print_line,
) -> TrainResult:
    """Train with Trainer; arguments and results are those of `captune.training.train`.

    Raises:
        DataError: No training image is left, or too many can no longer be read.
        ModelError: A micro batch does not fit in memory, or the training diverges.
        RecipeError: A setting is supported only by the loop.
        OutputError: The checkpoint to resume from was written by the loop.
    """
    check_trainer_settings(recipe.train)
    refuse_split_model()
    # First of all, as Trainer's arguments set up the processes again.
    args = recipe_arguments(recipe, run_folder)
    with launched(recipe, run_folder) as launch:
        start = start_run(
            captioner, records, recipe=recipe, run_folder=run_folder, launch=launch, say=say
        )
        start.watch_images()
        run_state = start.run_state
        checkpoint = find_checkpoint(run_state) if resume else None
        if run_state.needs_validation:
            RecipeTrainer(start, args, no_progress()).validate_again(checkpoint)
        if not run_state.state.finished:
            with run_state.watching() as progress:
                trainer = RecipeTrainer(start, args, progress)
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return start.result()


class RecipeTrainer(CaptionTrainer):
    """Trains as a recipe specifies, in Trainer's loop.

    Attributes:
        run_state: State, log and validation.
        steps: The content of this process's steps.
    """

    skips_lost_steps = True

    def __init__(self, start: Start, args: Seq2SeqTrainingArguments, progress: Progress) -> None:
        self.run_state = start.run_state
        self._start = start
        self._recipe = self.run_state.recipe
        team = self.run_state.team
        self.steps = PlannedSteps(start.feed, rank=team.rank, num_processes=team.size)
        args.max_steps = self.run_state.total_steps
        args.gradient_accumulation_steps = self.steps.accumulation
        self._step_loss, self._step_tokens = 0.0, 0
        self._batches: Iterator[Inputs] | None = None
        super().__init__(
            self.run_state.captioner,
            args,
            # Only its length is used: the planned loader reads the rows.
            train_dataset=start.feed.data.records,
            callbacks=[_RecipeCallback(self, progress)],
        )
        self.remove_callback(PrinterCallback)

    @override
    def choose_attention(self) -> None:
        """Do nothing: `start_run` has chosen attention, with the matching dropout."""

    @override
    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context of the recipe's precision."""
        return self._start.hardware.autocast()

    @override
    def get_train_dataloader(self) -> Any:
        """Return a loader of the planned keys; when resuming, Trainer skips the first ones."""
        return key_loader(self.steps)

    @override
    def get_batch_samples(
        self, epoch_iterator: Iterator[Key], num_batches: int, device: Any
    ) -> tuple[list[Any], Any]:
        """Return the micro batches of the next step and the number of their labels."""
        if self._batches is None:
            self._batches = planned_inputs(self._start.feed, epoch_iterator)
        own = self._batches
        batches = self.run_state.read_together(
            lambda: list(islice(own, num_batches)), self._save_now
        )
        found: tuple[list[Any], Any] = super().get_batch_samples(iter(batches), num_batches, device)
        return found

    def _save_now(self) -> None:
        self._save_checkpoint(self.model, None)

    def end_epoch(self) -> None:
        """End the worker processes of the epoch."""
        self._batches = None

    @override
    def create_optimizer(self, model: Any = None) -> Any:
        """Create the recipe's AdamW with its parameter groups."""
        if self.optimizer is None:
            self.optimizer = make_optimizer(self.captioner, self._recipe.train)
        return self.optimizer

    @override
    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Create the recipe's schedule; each group's rate is the schedule's times its scale."""
        train = self._recipe.train
        groups = (optimizer or self.optimizer).param_groups

        def share(scale: float) -> Any:
            return lambda step: (
                scale * learning_rate(step, num_training_steps, train=train) / train.learning_rate
            )

        if self.lr_scheduler is None:
            self.lr_scheduler = LambdaLR(
                getattr(self.optimizer, "optimizer", self.optimizer),
                [share(group["lr_scale"]) for group in groups],
            )
        return self.lr_scheduler

    @override
    def training_step(self, model: Any, inputs: Inputs, num_items_in_batch: Any = None) -> Any:
        """Drop words from the inputs, which are still on the CPU, and run Trainer's step.

        Raises:
            ModelError: The micro batch does not fit in memory.
        """
        inputs = batch_inputs(self._drop_words(inputs))
        try:
            loss = super().training_step(model, inputs, num_items_in_batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise ModelError(
                "a micro batch does not fit into memory",
                where="train.micro_batch_size",
                fix="set it lower: the optimizer step stays the same; or use train.engine: loop,"
                " which halves micro batches by itself",
            ) from error
        tokens = float(num_items_in_batch)
        self._step_loss += float(loss) * tokens / self.accelerator.num_processes
        self._step_tokens = round(tokens)
        return loss

    def rehearse(self) -> None:
        """Run the passes of a step's largest micro batch, like `Stepper.rehearse` in the loop.

        Raises:
            ModelError: The micro batch does not fit in memory.
        """
        batch = self._start.feed.largest_batch(self.run_state.team.size)
        batches = [batch.rows(slice(0, 1)), batch] if self.steps.accumulation > 1 else [batch]
        count = torch.tensor(max(1, batch.num_label_tokens), device=self.args.device)
        with keeping_state(self.captioner):
            for part in batches:
                self.training_step(self.model_wrapped, batch_inputs(part), count)
            self.model.zero_grad(set_to_none=True)
        self._step_loss, self._step_tokens = 0.0, 0

    def _drop_words(self, inputs: Inputs) -> Any:
        unknown = self.captioner.tokenizer.unk_token_id
        return drop_words(
            inputs_batch(inputs),
            self._recipe.train.word_dropout,
            unknown_id=self.captioner.pad_token_id if unknown is None else unknown,
            seed=(self._recipe.seed, self.run_state.state.step),
        )

    def finish_step(self, seconds: float) -> None:
        """Count a step and its loss, and update the averaged weights.

        Raises:
            ModelError: The loss is not a number.
        """
        run_state = self.run_state
        if run_state.average is not None:
            run_state.average.update(run_state.state.step)
        (loss,) = sum_numbers([self._step_loss], device=self.args.device)
        scaler = self.accelerator.scaler
        refuse_divergence(loss, step=run_state.state.step, train=self._recipe.train, scaler=scaler)
        run_state.state.loss_sum += loss
        run_state.state.loss_tokens += self._step_tokens
        self._step_loss = 0.0
        images = self.steps.images_of_step(run_state.state.step_in_epoch)
        run_state.count_step(seconds=seconds, images=images)

    @override
    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
        **gen_kwargs: Any,
    ) -> dict[str, float]:
        """Run the recipe's validation, and save the best weights in `model/`."""
        values = self.run_state.validate(self._save_now)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in values.items()}
        self.log(dict(metrics))
        handler = self.callback_handler
        self.control = handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    @override
    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save Trainer's checkpoint atomically, with the recipe's state."""
        self.store_flos()
        random_states = self._gather_random_states()
        if self.run_state.is_main:
            write_checkpoint(
                self.run_state.folder / "checkpoints",
                self.run_state.state,
                write=lambda temporary: self._write(temporary, random_states),
                keep=self._recipe.train.keep_checkpoints,
            )
        self.run_state.team.wait_for_all()

    def validate_again(self, checkpoint: Path | None) -> None:
        """Validate the weights of a checkpoint before, or instead of, further steps."""
        self._load_from_checkpoint(str(checkpoint))
        # If this fails too, the checkpoint is still there.
        self.run_state.validate(lambda: None)
        self.run_state.settle()

    @override
    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        with reading(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    @override
    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with reading(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)

    @override
    def _load_rng_state(self, checkpoint: str | None) -> None:
        with reading(checkpoint):
            super()._load_rng_state(checkpoint)
            path = Path(checkpoint or "", self._device_random_file)
            if checkpoint and path.is_file():
                saved = torch.load(path, map_location="cpu", weights_only=True)
                set_device_random_states(saved, self.captioner.device)

    @property
    def _device_random_file(self) -> str:
        """File of this process's device states: Trainer does not save those of XPU and MPS."""
        return f"device_random_{self.accelerator.process_index}.pt"

    def _gather_random_states(self) -> dict[str, bytes]:
        """Return all processes' random states as files: each draws its own dropout, one writes."""
        with TemporaryDirectory() as folder:
            self._save_rng_state(folder)
            states = device_random_states(self.captioner.device)
            torch.save(states, Path(folder, self._device_random_file))
            own = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
        return dict(item for files in gather_object([own]) for item in files.items())

    def _write(self, folder: Path, random_states: dict[str, bytes]) -> None:
        self.save_model(str(folder), _internal_call=True)
        self._save_optimizer_and_scheduler(str(folder))
        self._save_scaler(str(folder))
        for name, content in random_states.items():
            (folder / name).write_bytes(content)
        self.state.save_to_json(str(folder / TRAINER_STATE_NAME))
        if self.run_state.average is not None:
            torch.save(self.run_state.average.weights, folder / AVERAGE)


class _RecipeCallback(TrainerCallback):
    """Decides when Trainer logs, validates, saves and stops, and writes the log."""

    def __init__(self, trainer: RecipeTrainer, progress: Progress) -> None:
        self._trainer, self._progress = trainer, progress
        self._began = 0.0

    @override
    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Seed each process differently (a checkpoint replaces the seed), and rehearse a step."""
        trainer = self._trainer
        set_seed(trainer.run_state.recipe.seed + trainer.run_state.team.rank)
        trainer.rehearse()

    @override
    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        """Plan the epoch, and restart counting images per second."""
        run_state = self._trainer.run_state
        self._trainer.steps.set_epoch(run_state.state.epoch)
        run_state.restart_clock()

    @override
    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        """End the epoch's worker processes."""
        self._trainer.end_epoch()

    @override
    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start timing the step, now that its batches are loaded."""
        self._began = time.monotonic()

    @override
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Decide what follows the step."""
        run_state = self._trainer.run_state
        self._trainer.finish_step(time.monotonic() - self._began)
        control.should_log = run_state.is_log_due
        control.should_evaluate = run_state.is_validation_due
        if not run_state.is_log_due:
            run_state.show(self._progress)
        if not run_state.is_validation_due:
            self._settle(control)

    @override
    def on_log(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Log a step's loss; validation logs its own line."""
        logs = others.get("logs") or {}
        if "grad_norm" in logs:
            self._trainer.run_state.log_step(self._progress, grad_norm=float(logs["grad_norm"]))

    @override
    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Decide whether this validation was the last one."""
        self._settle(control)

    def _settle(self, control: Any) -> None:
        run_state = self._trainer.run_state
        control.should_save = run_state.settle()
        control.should_training_stop = run_state.state.finished or run_state.stopped
