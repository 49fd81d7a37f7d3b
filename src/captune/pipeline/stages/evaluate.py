"""The stage `evaluate`: the trained model's captions of the scored split, and their scores."""

from __future__ import annotations

from captune.data import (
    load_splits,
)
from captune.evaluation import (
    Evaluation,
    format_value,
    judge_run,
    metric_label,
    save_scores,
    write_results_csv,
)
from captune.inference import write_predictions
from captune.models import Captioner, load_captioner, write_decoding
from captune.pipeline.stages.job import Job
from captune.pipeline.stages.scored import (
    picked_on,
    predict_scored,
    read_step,
    run_to_score,
    scored_records,
    truth_rates,
)
from captune.records import Prediction
from captune.storage import write_text
from captune.training import log_test_scores


def evaluate(job: Job) -> None:
    """Caption the scored split with the trained model, and score it against the other systems."""
    records = load_splits(job.folder)
    scored = scored_records(job.recipe, records)
    after = predict_after(job)
    write_predictions(job.folder / "predictions" / "after.jsonl", after)
    run = run_to_score(job, records, after=after)
    evaluation = run.score()
    extra = truth_rates(job, evaluation, after=after)
    save_scores(job.folder, evaluation, run=run, extra=extra)
    _track(job, evaluation)
    for name, predictions in (("before", run.before), ("after", after)):
        if predictions is not None:
            write_results_csv(
                job.folder / f"results_{name}_training.csv",
                scored,
                predictions=predictions,
                scores=evaluation.scores[name],
            )
    verdict = judge_run(evaluation, after, records=scored, picked_on=picked_on(job, records))
    figures = [f"{metric_label(name)}: {format_value(name, rate)}" for name, rate in extra.items()]
    sentences = (f"{verdict.headline} {verdict.sentence}", *verdict.warnings, *figures)
    for line in (*_describe_scores(evaluation), *sentences):
        job.say(line)


def _track(job: Job, evaluation: Evaluation) -> None:
    """Give the scores before and after training to the run's TensorBoard."""
    steps = {"after": read_step(job, "best_step") or 0}
    scores = {
        steps.get(name, 0): dict(evaluation.scores[name].metrics)
        for name in ("before", "after")
        if name in evaluation.scores
    }
    log_test_scores(job.recipe, job.folder, scores=scores, split=evaluation.split)


def predict_after(job: Job) -> list[Prediction]:
    """Return the captions of the trained model; every process does a share."""
    captioner = load_captioner(job.folder / "model", where="the run's model")
    if job.team.leads:
        _keep_decoding(job, captioner)
    return predict_scored(
        job, captioner, records=scored_records(job.recipe, load_splits(job.folder))
    )


# The most compared metrics, in order; the report has all of them.
_MAIN_METRICS = ("cider", "bleu_4", "meteor", "rouge_l", "spice", "clip_score")
_MAX_ROWS = 5


def _describe_scores(evaluation: Evaluation) -> list[str]:
    """Build a small table of the main scores: after training, and before if there is a baseline."""
    after, before = evaluation.scores["after"].metrics, evaluation.scores.get("before")
    names = [name for name in _MAIN_METRICS if name in after]
    names += [name for name in after if name not in names]
    shown, columns = names[:_MAX_ROWS], [after] if before is None else [before.metrics, after]
    width = max(len("scores"), *(len(metric_label(name)) for name in shown))
    heads = ("before", "after")[-len(columns) :]
    lines = [f"{'scores':<{width}}  " + "".join(f"{head:>10}" for head in heads)]
    for name in shown:
        values = [format_value(name, c[name]) if name in c else "" for c in columns]
        cells = "".join(f"{value:>10}" for value in values)
        lines.append(f"{metric_label(name):<{width}}  {cells}")
    if len(names) > len(shown):
        lines.append(f"{len(names) - len(shown)} more are in scores.json")
    return lines


def _keep_decoding(job: Job, captioner: Captioner) -> None:
    """Save the decoding settings with the model: a change of them retrains nothing."""
    write_decoding(captioner.model, job.recipe.generate)
    text = captioner.model.generation_config.to_json_string()
    path = job.folder / "model" / "generation_config.json"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
