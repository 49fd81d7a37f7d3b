"""What to do next, from the evidence of a report, with commands to paste."""

from __future__ import annotations

from dataclasses import dataclass

from captune.evaluation.compare import Evaluation
from captune.evaluation.report.inputs import ReportInputs, RunSettings
from captune.evaluation.verdict import FEW_IMAGES, Verdict
from captune.recipe import epochs_for_new_weights
from captune.suggest import format_count, quote_words

_MAX_STEPS = 4
_SLOWER = 3.0
_OVERFIT = 1.02


@dataclass(frozen=True, slots=True)
class NextStep:
    """One suggestion.

    Attributes:
        title: What to do, in a few words.
        reason: The evidence for it, in a sentence.
        command: A command to paste; empty if there is none.
    """

    title: str
    reason: str
    command: str = ""


def suggest_steps(inputs: ReportInputs, verdict: Verdict) -> list[NextStep]:
    """Return up to four suggestions, the most important first."""
    is_weak = "collapse" in verdict.findings or verdict.outcome != "better"
    longer = _for_few_steps(inputs.source) if is_weak else []
    found = [
        *(longer or _for_collapse(inputs, verdict)),
        *_for_cut_captions(inputs, verdict),
        *([] if longer else _for_training(inputs)),
        *_for_data(inputs.source),
        *_for_few_images(inputs.evaluation),
    ]
    if not found or verdict.outcome == "better":
        found += _for_use(inputs, verdict)
    return found[:_MAX_STEPS]


def _for_few_steps(source: RunSettings | None) -> list[NextStep]:
    epochs = None if source is None else epochs_for_new_weights(source.recipe, source.steps)
    if source is None or epochs is None:
        return []
    return [
        NextStep(
            "Train longer",
            f"{format_count(source.steps, 'step is', plural='steps are')} few for weights that"
            " started at random: about 1,000 are needed before captions follow the images.",
            _run_again(source, f"train.epochs={epochs}", folder=f"{source.folder}-longer"),
        )
    ]


def _for_collapse(inputs: ReportInputs, verdict: Verdict) -> list[NextStep]:
    if "collapse" not in verdict.findings and verdict.outcome != "worse":
        return []
    reason = (
        "The captions have collapsed into a few sentences, often because the steps were too large."
        if "collapse" in verdict.findings
        else "Training made the captions worse; the steps may have been too large."
    )
    source = inputs.source
    if source is None:
        return [NextStep("Do not use this model yet", reason)] if inputs.occasion == "run" else []
    rate = f"{source.recipe.train.learning_rate / _SLOWER:.1g}"
    return [
        NextStep(
            "Lower the learning rate",
            reason,
            _run_again(source, f"train.learning_rate={rate}", folder=f"{source.folder}-slower"),
        )
    ]


def _for_cut_captions(inputs: ReportInputs, verdict: Verdict) -> list[NextStep]:
    if "cut" not in verdict.findings:
        return []
    more = 2 * inputs.generate.max_new_tokens
    reason = f"Many captions end after {inputs.generate.max_new_tokens} tokens, in mid-sentence."
    command = next((fact.value for fact in inputs.facts if fact.label == "Command"), "")
    if inputs.source is not None:
        command = _run_again(
            inputs.source, f"generate.max_new_tokens={more}", folder=inputs.source.folder
        )
    elif command.startswith("captune evaluate"):
        command += f" --max-new-tokens {more} --force"
    else:
        command = ""
    return [NextStep("Allow longer captions", reason, command)]


def _for_data(source: RunSettings | None) -> list[NextStep]:
    if source is None or not source.data_problem:
        return []
    data = quote_words(source.recipe.data.path)
    return [NextStep("Clean the data", source.data_problem, f"captune data check {data}")]


def _for_training(inputs: ReportInputs) -> list[NextStep]:
    """Suggest more epochs if the last validation was the best, fewer if the loss rose again."""
    source = inputs.source
    losses = inputs.log.curve("val_loss")
    if source is None or len(losses.values) < 2:
        return []
    epochs = source.recipe.train.epochs
    best = min(losses.values)
    if losses.values[-1] == best:
        return [
            NextStep(
                "Train longer",
                "The validation loss was still falling at the last step.",
                _run_again(
                    source, f"train.epochs={2 * epochs:g}", folder=f"{source.folder}-longer"
                ),
            )
        ]
    if losses.values[-1] <= best * _OVERFIT:
        return []
    step = losses.steps[losses.values.index(best)]
    share = step / losses.steps[-1]
    return [
        NextStep(
            "Train shorter, or with more images",
            f"The validation loss was lowest at step {step:,} of {losses.steps[-1]:,} and rose"
            " afterwards: the model learned the training images by heart.",
            _run_again(
                source,
                f"train.epochs={max(1.0, round(epochs * share)):g}",
                folder=f"{source.folder}-shorter",
            ),
        )
    ]


def _for_few_images(evaluation: Evaluation) -> list[NextStep]:
    if evaluation.num_images >= FEW_IMAGES:
        return []
    images = format_count(evaluation.num_images, "image")
    return [
        NextStep(
            "Score more images",
            f"{images} are too few to rely on the scores; {FEW_IMAGES} or more give a better"
            " estimate.",
        )
    ]


def _for_use(inputs: ReportInputs, verdict: Verdict) -> list[NextStep]:
    model = inputs.title if inputs.source is None else inputs.source.folder
    # Without a baseline, only a constant caption was beaten: that alone recommends no model.
    if verdict.outcome not in ("better", "unknown") or "constant" in verdict.findings:
        return []
    if inputs.source is None and inputs.occasion == "run":
        return []
    named = quote_words(model)
    return [
        NextStep(
            "Caption your images",
            "Look through the failures below first: they show what to expect.",
            f"captune caption {named} PHOTOS --to txt",
        ),
        NextStep(
            "Try it in a browser",
            "The page captions dropped images and lets you correct captions.",
            f"captune serve {named}",
        ),
    ]


def _run_again(source: RunSettings, *settings: str, folder: str) -> str:
    changes = [part for setting in settings for part in ("--set", quote_words(setting))]
    recipe = f"{source.folder.rstrip('/')}/recipe.yaml"
    return " ".join(["captune run", quote_words(recipe), *changes, "--out", quote_words(folder)])
