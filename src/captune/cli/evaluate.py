"""`captune evaluate` and `captune compare`: scores of models' captions on a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from captune.cli.flags.groups import takes
from captune.cli.flags.urls import AllowUrls, TrustHost, choose_url_rules
from captune.cli.scoring.chosen_images import read_chosen
from captune.cli.scoring.request import Request, caption_all, finish, make_request, prepare_images
from captune.cli.scoring.table import choose_say, print_table
from captune.storage import lock_folder

if TYPE_CHECKING:
    from captune.data import SkippedImage
    from captune.evaluation import Evaluation
    from captune.records import CaptionRecord


_CALLED = {"before": "baseline", "after": "model"}
"""Names of the systems where no training took place."""


@takes("request", make_request)
def evaluate(
    model: Annotated[str, typer.Argument(help="Folder, hub id, or a run's folder.")],
    *,
    baseline: Annotated[
        str | None, typer.Option(help="A model to compare with, such as the untrained one.")
    ] = None,
    request: Request,
) -> None:
    """Caption the images of a split with a model and score the captions.

    Exits with 3 when images could not be read: they are listed, the others are scored.
    """
    with lock_folder(request.places.out):
        _evaluate(model, baseline, request)


@takes("request", make_request)
def compare(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL", help="Folders, hub ids, or runs' folders.")
    ],
    *,
    images: Annotated[
        list[str] | None,
        typer.Option(help="Also show captions of this file or URL; may be repeated. Not scored."),
    ] = None,
    allow_urls: AllowUrls = False,
    trust_host: TrustHost = None,
    request: Request,
) -> None:
    """Score several models on the same images: which is better, by how much, how certainly.

    Exits with 3 when images could not be read: they are listed, the others are scored.
    """
    chosen = read_chosen(images or (), choose_url_rules(allow_urls, trust_host))
    with lock_folder(request.places.out):
        _compare(models, chosen, request)


def _evaluate(model: str, baseline: str | None, request: Request) -> None:
    from captune.evaluation import (
        ReportInputs,
        evaluation_facts,
        judge_run,
        score_run,
        warn_of_training_images,
        write_evaluation,
    )

    models = {"model": model} if baseline is None else {"baseline": baseline, "model": model}
    scored, request = prepare_images(request, models.values(), decoded_as=model)
    captioned = caption_all(models, scored.records, request)
    evaluation = score_run(
        scored.records,
        before=captioned.predictions.get("baseline"),
        after=captioned.predictions["model"],
        training_records=scored.training_records,
        options=request.scoring,
    )
    say = choose_say(request.table)
    print_table(evaluation, request.table, names=_CALLED)
    verdict = judge_run(
        evaluation, captioned.predictions["model"], records=scored.records, occasion="evaluation"
    )
    # Of a training split, the verdict says it.
    known = {"The baseline": baseline, "The model": model} if scored.split != "train" else {}
    cautions = warn_of_training_images({n: s for n, s in known.items() if s}, scored.records)
    skipped = (*scored.missing, *captioned.skipped)
    for sentence in (f"{verdict.headline} {verdict.sentence}", *cautions, *verdict.warnings):
        say(sentence)
    if request.places.json_file:
        _write_json(request.places.json_file, evaluation, model=model, skipped=skipped)
    if request.places.out:
        inputs = ReportInputs(
            title=model,
            description=f"Scored on {request.data}.",
            records=scored.records,
            before=captioned.predictions.get("baseline"),
            after=captioned.predictions["model"],
            evaluation=evaluation,
            generate=request.decoding,
            seed=request.scoring.seed,
            facts=evaluation_facts(models, captioned, data=scored.describe(request.data)),
            skipped=skipped,
            occasion="evaluation",
            cautions=cautions,
        )
        write_evaluation(request.places.out, inputs)
        say(f"report:  {request.places.out / 'report.html'}")
    finish(captioned.skipped, scored)


def _compare(sources: Sequence[str], chosen: Sequence[CaptionRecord], request: Request) -> None:
    from captune.evaluation import (
        ComparisonInputs,
        compare_systems,
        describe_ranking,
        describe_scores,
        evaluation_facts,
        name_models,
        warn_of_collapses,
        warn_of_training_images,
        write_comparison_files,
    )
    from captune.storage import write_json

    models = name_models(sources)
    scored, request = prepare_images(request, models.values())
    captioned = caption_all(models, [*scored.records, *chosen], request)
    evaluation = compare_systems(scored.records, captioned.predictions, options=request.scoring)
    say = choose_say(request.table)
    print_table(evaluation, request.table)
    cautions = warn_of_training_images(models, scored.records)
    warnings = warn_of_collapses(evaluation, captioned.predictions, records=scored.records)
    for sentence in (" ".join(describe_ranking(evaluation)), *cautions, *warnings):
        say(sentence)
    for record in chosen:
        say(f"{record.file_name}")
        for name, predictions in captioned.predictions.items():
            captions = {p.image_id: p.caption for p in predictions}
            say(f"  {name}: {captions.get(record.image_id, '(none)')}")
    if request.places.json_file:
        write_json(request.places.json_file, describe_scores(evaluation))
    if request.places.out:
        inputs = ComparisonInputs(
            records=scored.records,
            systems=captioned.predictions,
            evaluation=evaluation,
            generate=request.decoding,
            seed=request.scoring.seed,
            chosen=chosen,
            cautions=cautions,
            facts=evaluation_facts(models, captioned, data=scored.describe(request.data)),
        )
        write_comparison_files(request.places.out, inputs)
        say(f"page:    {request.places.out / 'comparison.html'}")
    finish(captioned.skipped, scored)


def _write_json(
    path: Path, evaluation: Evaluation, *, model: str, skipped: Sequence[SkippedImage]
) -> None:
    """Write the shape that all commands share, plus the model's own scores at the top."""
    from captune.evaluation import describe_scores, system_sections
    from captune.storage import write_json

    content = describe_scores(evaluation, names=_CALLED)
    sections = {_CALLED.get(name, name): s for name, s in system_sections(evaluation).items()}
    own = sections.pop("model")
    listed = [{"image_id": s.image_id, "reason": s.reason} for s in skipped]
    write_json(path, {**content, **own, **sections, "model": model, "skipped": listed})
