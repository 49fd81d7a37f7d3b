"""`captune score`: read files of captions, match their ids, and score them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from captune.cli.scoring.inputs import (
    InputOptions,
    Samples,
    add_images,
    read_inputs,
    read_sample_files,
)
from captune.cli.scoring.output import ScoredFiles
from captune.cli.scoring.table import CONSTANT_CAPTION
from captune.errors import MetricError, located
from captune.progress import print_line
from captune.records import TokenizerName

if TYPE_CHECKING:
    from captune.evaluation import System
    from captune.metrics import MetricInputs, References

Captions = Mapping[str, str]
"""Image id -> caption."""

T = TypeVar("T")
"""A caption, or several captions, of one image."""


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """A request to `captune score`.

    Attributes:
        references: File of human captions.
        predictions: Files of predictions, at least one.
        metrics: Names of metrics and groups.
        inputs: Options that only some metrics use.
        training: Human captions of the training set; `None`: no constant caption is scored.
        is_partial: Whether only the images of the first file are scored.
        tokenize: The tokenizer that splits captions into words.
        resampling: Resamples per interval and test, and their seed.
    """

    references: Path
    predictions: Sequence[Path]
    metrics: tuple[str, ...]
    inputs: InputOptions
    training: Path | None
    is_partial: bool
    tokenize: TokenizerName
    resampling: tuple[int, int]


def score_files(request: ScoreRequest) -> ScoredFiles:
    """Score every file of predictions, and the constant caption if requested.

    Raises:
        MetricError: A file cannot be read, the ids do not match, or a metric is unknown or lacks an
            input.
        MissingExtraError: A metric or the tokenizer needs an extra that is not installed.
    """
    from captune.evaluation import ScoringOptions, SystemPair, pair_all, score_systems
    from captune.metrics import require_metrics, require_tokenizer, resolve_metrics

    with located("--metrics"):
        resolve_metrics(request.metrics)
    require_tokenizer(request.tokenize)
    names = _name_systems(request.predictions)
    inputs = read_inputs(request.inputs)
    references, systems = _read_captions(request, names)
    inputs = _add_images(inputs, references, request=request)
    systems, constant, copied = _add_constant(systems, references, training=request.training)
    num_resamples, seed = request.resampling
    options = ScoringOptions(
        metrics=request.metrics,
        split="",
        generate=None,
        bootstrap_samples=num_resamples,
        seed=seed,
        tokenize=request.tokenize,
        inputs=inputs,
    )
    pairs = pair_all(names) + [SystemPair(names[0], CONSTANT_CAPTION)] * bool(constant)
    given = replace(inputs, samples=systems[names[0]].samples)
    require_metrics(request.metrics, given)
    evaluation = score_systems(references, systems, options=options, pairs=pairs)
    return ScoredFiles(evaluation, given, constant, copied)


def _read_captions(
    request: ScoreRequest, names: Sequence[str]
) -> tuple[References, dict[str, System]]:
    """Return references and systems of the scored images, by the ids of the references."""
    from captune.evaluation import System
    from captune.metrics import read_predicted_captions

    files = dict(zip(names, request.predictions, strict=True))
    predicted = {name: read_predicted_captions(path) for name, path in files.items()}
    samples = read_sample_files(request.inputs.samples, names)
    human = _read_human(request.references)
    matcher = _Matcher(request.references, tuple(human))
    predicted = {name: matcher.rename(own, files[name]) for name, own in predicted.items()}
    wanted = predicted[names[0]] if request.is_partial else None
    paths = dict(zip(samples, request.inputs.samples, strict=True))
    several: dict[str, Samples] = {
        name: _keep(matcher.rename(own, paths[name]), wanted) for name, own in samples.items()
    }
    if wanted is not None:
        _require_overlap(human, wanted, files=(request.references, files[names[0]]))
    references = _count_references(_keep(human, wanted), request)
    return references, {
        name: System(own, several.get(name), files[name]) for name, own in predicted.items()
    }


def _read_human(path: Path) -> dict[str, list[str]]:
    from captune.metrics import read_references

    notes: list[str] = []
    captions = read_references(path, notes=notes)
    _print_notes(notes)
    return captions


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        print_line(f"note: {note}", to_stderr=True)


@dataclass(frozen=True, slots=True)
class _Matcher:
    """Translates ids of other files to those of the references.

    Attributes:
        path: The file of references, which may name the files of its images.
        image_ids: Its ids.
    """

    path: Path
    image_ids: tuple[str, ...]

    def rename(self, captions: Mapping[str, T], path: Path) -> dict[str, T]:
        """Return the captions under the ids of the references where these match; print a note."""
        from captune.metrics import match_image_ids, read_image_names

        if captions.keys() <= set(self.image_ids):
            return dict(captions)
        match = match_image_ids(self.image_ids, captions, names=read_image_names(self.path))
        if match.ids:
            _print_notes([f"{path}: {match.describe()}"])
        return {match.ids.get(image_id, image_id): own for image_id, own in captions.items()}


def _keep(captions: Mapping[str, T], wanted: Captions | None) -> dict[str, T]:
    return {key: own for key, own in captions.items() if wanted is None or key in wanted}


def _require_overlap(
    human: Mapping[str, Sequence[str]], wanted: Captions, *, files: tuple[Path, Path]
) -> None:
    if human.keys() & wanted.keys() or not human or not wanted:
        return
    raise MetricError(
        f"no image of the predictions is among the references: {files[1]} has ids such as"
        f" {next(iter(wanted))!r}, {files[0]} such as {next(iter(human))!r}",
        where=str(files[1]),
        fix="give both files the same ids; ids that are paths are matched by file name where that"
        " is one to one",
    )


def _count_references(captions: Mapping[str, Sequence[str]], request: ScoreRequest) -> References:
    from captune.metrics import References

    folder = request.inputs.cache
    if folder is None:
        return References(captions, tokenizer=request.tokenize)
    return References.cached(captions, folder, tokenizer=request.tokenize)


def _add_images(
    inputs: MetricInputs, references: References, *, request: ScoreRequest
) -> MetricInputs:
    """Return the inputs with the images, if they are given or a requested metric needs them."""
    from captune.metrics import METRICS, resolve_metrics

    named = [name for name in request.metrics if name != "all"]
    needs = {METRICS[name].needs for name in (resolve_metrics(named) if named else ())}
    if request.inputs.images is None and not needs & {"images", "pac_checkpoint"}:
        return inputs
    files = [request.references, *request.predictions]
    return add_images(inputs, references.image_ids, folder=request.inputs.images, files=files)


def _add_constant(
    systems: dict[str, System], references: References, *, training: Path | None
) -> tuple[dict[str, System], str, dict[str, float]]:
    """Return the systems with the constant caption added, that caption, and copied shares."""
    from captune.evaluation import System
    from captune.metrics import constant_caption_baseline, measure_copied_share

    if training is None:
        return systems, "", {}
    learned, cut = _read_human(training), references.tokenizer
    constant = constant_caption_baseline(learned, tokenizer=cut)
    known = [caption for captions in learned.values() for caption in captions]
    copied = {
        name: measure_copied_share(system.captions, known, tokenizer=cut)
        for name, system in systems.items()
    }
    several = next(iter(systems.values())).samples
    size = max(map(len, several.values()), default=0) if several else 0
    captions = dict.fromkeys(references.image_ids, constant)
    repeated = {image_id: [constant] * size for image_id in captions} if several else None
    return {**systems, CONSTANT_CAPTION: System(captions, repeated)}, constant, copied


def _name_systems(paths: Sequence[Path]) -> list[str]:
    """Return file names without endings if they differ, else whole paths.

    The name of the constant caption is never a file's.

    Raises:
        MetricError: A file is given twice.
    """
    if len(set(paths)) < len(paths):
        double = next(path for path in paths if paths.count(path) > 1)
        raise MetricError(f"{double} is given twice", fix="give each predictions file once")
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    return [f"{name} (file)" if name == CONSTANT_CAPTION else name for name in names]
