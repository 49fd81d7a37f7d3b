"""`captune score`: what predictions in files are worth, alone or side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from captune.cli.flags.name_lists import split_names
from captune.cli.scoring.inputs import (
    InputOptions,
    Samples,
    add_images,
    read_inputs,
    read_sample_files,
)
from captune.cli.scoring.output import (
    CONSTANT_CAPTION,
    Outcome,
    ScoredSystems,
    print_left_out,
    print_scores,
    write_per_image,
    write_scores_json,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from captune.metrics import References

METRICS_HELP = (
    "Metrics and groups, with commas. Groups: default, all, bleu, rouge, word_errors, chair,"
    " hallucination, diversity, samples, mbleu, clip, pac. Metrics: bleu_1, bleu_2, bleu_3,"
    " bleu_4, rouge_l, meteor, cider, cider_plain, sacrebleu, rouge1, rouge2, rougeL, rougeLsum,"
    " wer, wer_first, spice, bert_score (bert_score_raw with it), clip_score, ref_clip_score,"
    " pac_s, ref_pac_s, chair_i, chair_s, distinct_1, distinct_2, vocabulary_size,"
    " distinct_captions, most_frequent_share, mean_length, div_1, div_2, mbleu_1, mbleu_2,"
    " mbleu_3, mbleu_4, self_cider."
)
"""Written out, so that `--help` need not load the metrics; a test holds it to their table."""


def score(
    references: Annotated[
        Path,
        typer.Option(help="Human captions: COCO annotations, JSON of id to list, or JSONL."),
    ],
    predictions: Annotated[
        list[Path],
        typer.Option(
            help="One caption an image: COCO results, JSON of id to caption, or JSONL. Give it"
            " again for several files side by side; the others are tested against the first."
        ),
    ],
    *,
    metrics: Annotated[str, typer.Option(help=METRICS_HELP)] = "default",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write scores and intervals to this file.")
    ] = None,
    per_image: Annotated[
        Path | None, typer.Option(help="Write one JSON line an image to this file.")
    ] = None,
    only_predicted: Annotated[
        bool,
        typer.Option("--only-predicted", help="Leave out images that the first file lacks."),
    ] = False,
    document_frequencies: Annotated[
        Path | None,
        typer.Option(help="CIDEr's document frequencies; otherwise counted in the references."),
    ] = None,
    samples: Annotated[
        list[Path] | None,
        typer.Option(
            help="Several captions an image by the model of --predictions: adds div, mbleu and"
            " self_cider. JSON of id to list, or JSONL; one file for each of --predictions."
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the images, for clip_score and pac_s: named by id, or as the"
            " references' file says. Not needed where a file of captions gives their paths."
        ),
    ] = None,
    clip_model: Annotated[
        str | None,
        typer.Option(
            help="CLIP model, hub id or folder.", show_default="openai/clip-vit-base-patch32"
        ),
    ] = None,
    pac_checkpoint: Annotated[
        str | None, typer.Option(help="Weights of PAC-S: its authors' file, or a folder.")
    ] = None,
    bert_model: Annotated[
        str | None,
        typer.Option(help="Model of BERTScore, hub id or folder.", show_default="roberta-large"),
    ] = None,
    objects: Annotated[
        Path | None,
        typer.Option(help="What is in the images, for chair: COCO instances, JSON or JSONL."),
    ] = None,
    object_words: Annotated[
        Path | None, typer.Option(help="Words of chair, a line a class; otherwise COCO's 80.")
    ] = None,
    training: Annotated[
        Path | None,
        typer.Option(
            help="Human captions of the training set: adds what the best constant caption would"
            " score, and the share of predictions that are copied."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Torch device of the models.")] = "cpu",
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps counted references and image features."),
    ] = None,
    resamples: Annotated[
        int, typer.Option(min=1, help="Bootstrap resamples behind each 95 % interval.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
) -> None:
    """Score captions in files against human captions."""
    from captune.metrics import list_left_out

    options = InputOptions(
        document_frequencies=document_frequencies,
        images=images,
        samples=samples or [],
        clip_model=clip_model,
        pac_checkpoint=pac_checkpoint,
        bert_model=bert_model,
        objects=objects,
        object_words=object_words,
        device=device,
        cache=cache,
    )
    asked = split_names(metrics) + ["samples"] * bool(samples)
    scored = _score_files(
        references,
        predictions,
        asked=asked,
        options=options,
        training=training,
        only_predicted=only_predicted,
    )
    outcome = _test_systems(scored, resamples=resamples, seed=seed)
    print_scores(outcome)
    print_left_out(list_left_out(asked, scored.inputs))
    if json_file:
        write_scores_json(json_file, outcome)
    if per_image:
        write_per_image(per_image, outcome.results)


def _score_files(
    references: Path,
    predictions: Sequence[Path],
    *,
    asked: Sequence[str],
    options: InputOptions,
    training: Path | None,
    only_predicted: bool,
) -> ScoredSystems:
    from captune.metrics import (
        compute,
        constant_caption_baseline,
        measure_copied_share,
        naming_file,
        read_predictions,
        read_references,
        require_metrics,
        resolve_metrics,
    )

    resolve_metrics(asked)
    names = _name_systems(predictions)
    systems = {name: read_predictions(path) for name, path in zip(names, predictions, strict=True)}
    inputs = read_inputs(options)
    samples = read_sample_files(options.samples, names)
    wanted = next(iter(systems.values())) if only_predicted else None
    counted = _count_references(references, cache=options.cache, images=wanted)
    if options.images is not None or _look_at_images(asked):
        files = [references, *predictions]
        inputs = add_images(inputs, counted.image_ids, folder=options.images, files=files)
    constant, copied = "", {}
    if training is not None:
        learned = read_references(training)
        constant = constant_caption_baseline(learned)
        known = [caption for captions in learned.values() for caption in captions]
        copied = {name: measure_copied_share(said, known) for name, said in systems.items()}
        systems[CONSTANT_CAPTION] = dict.fromkeys(counted.image_ids, constant)
    given = {
        name: replace(inputs, samples=_sample(name, said, samples=samples, only=wanted))
        for name, said in systems.items()
    }
    require_metrics(asked, given[names[0]])
    paths = dict(zip(names, predictions, strict=True))
    results = {}
    for name, said in systems.items():
        with naming_file(paths.get(name, references)):
            results[name] = compute(counted, said, metrics=asked, inputs=given[name])
    return ScoredSystems(results, given[names[0]], constant, copied)


def _sample(
    system: str,
    said: Mapping[str, str],
    *,
    samples: Mapping[str, Samples],
    only: Mapping[str, str] | None,
) -> Samples | None:
    """The samples of a system, of the wanted images; the constant caption says itself again."""
    if not samples:
        return None
    if system == CONSTANT_CAPTION:
        first = next(iter(samples.values()))
        size = max(map(len, first.values()), default=0)
        return {image_id: [caption] * size for image_id, caption in said.items()}
    own = samples[system]
    return own if only is None else {key: value for key, value in own.items() if key in only}


def _look_at_images(asked: Sequence[str]) -> bool:
    """Whether a metric that was asked for by name, not by `all`, needs the images."""
    from captune.metrics import METRICS, resolve_metrics

    named = [name for name in asked if name != "all"]
    return any(
        METRICS[name].needs in {"images", "pac_checkpoint"}
        for name in (resolve_metrics(named) if named else ())
    )


def _test_systems(scored: ScoredSystems, *, resamples: int, seed: int) -> Outcome:
    from captune.metrics import bootstrap_intervals, paired_bootstrap

    results = scored.results
    intervals = {
        name: bootstrap_intervals(result, num_resamples=resamples, seed=seed)
        for name, result in results.items()
    }
    first, *others = results
    tests = {
        name: paired_bootstrap(results[first], results[name], num_resamples=resamples, seed=seed)
        for name in others
    }
    return Outcome(scored, intervals, tests)


def _name_systems(paths: Sequence[Path]) -> list[str]:
    """File names without ending where they differ, else whole paths.

    Raises:
        MetricError: A file is given twice.
    """
    from captune.errors import MetricError

    if len(set(paths)) < len(paths):
        double = next(path for path in paths if paths.count(path) > 1)
        raise MetricError(f"{double} is given twice", fix="give each predictions file once")
    stems = [path.stem for path in paths]
    return stems if len(set(stems)) == len(stems) else [str(path) for path in paths]


def _count_references(
    path: Path, *, cache: Path | None, images: Mapping[str, str] | None
) -> References:
    """The references of all images, or of those given."""
    from captune.metrics import References, read_references

    captions = read_references(path)
    if images is not None:
        captions = {key: value for key, value in captions.items() if key in images}
    return References(captions) if cache is None else References.cached(captions, cache)
