"""`compute`, which scores captions with metrics given by name, and the meaning of those names."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from captune import __version__
from captune.errors import MetricError, MissingExtraError
from captune.metrics.counting.candidates import Candidates, match_predictions
from captune.metrics.counting.frequencies import DocumentFrequencies
from captune.metrics.counting.references import References
from captune.metrics.counting.scripts import Scripts, measure_scripts
from captune.metrics.counting.tokenizers import DEFAULT_TOKENIZER, sign_tokenizer
from captune.metrics.meteor.data import find_source
from captune.metrics.metric_inputs import MetricInputs
from captune.metrics.neural.bert import DEFAULT_BERT_MODEL, require_bert_score
from captune.metrics.results import MetricColumn, MetricResults
from captune.metrics.scores.spice import find_spice
from captune.metrics.table import DEFAULT_METRICS, FAMILIES, METRIC_GROUPS, METRICS
from captune.suggest import did_you_mean

# Shares of words with letters other than a to z: above the first, ROUGE's figures mean little;
# above the second, English word lists do not apply.
_SOME, _MANY = 0.1, 0.5


def compute(
    references: References | Mapping[str, Sequence[str]],
    predictions: Mapping[str, str],
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    frequencies: DocumentFrequencies | None = None,
    inputs: MetricInputs | None = None,
) -> MetricResults:
    """Score one caption per image.

    Args:
        references: Human captions by image id; `References` are counted once for all calls.
        predictions: Image id -> caption, for exactly the images of the references.
        metrics: Names of metrics or groups; see `METRICS` and `METRIC_GROUPS`.
        frequencies: CIDEr's document frequencies; `None`: those of `inputs`.
        inputs: Inputs of metrics besides captions. Pass the same object for several systems, so
            that images are embedded once.

    Returns:
        Values in the order of the references. `bert_score` is omitted if its model has no
        baseline.

    Raises:
        MetricError: A metric is unknown or lacks its inputs, ids are missing, extra or duplicate,
            or a caption is not text.
        MissingExtraError: A metric needs an extra that is not installed.
        ModelError: The model of a metric cannot be loaded.
    """
    inputs = inputs or MetricInputs()
    names = require_metrics(metrics, inputs)
    if frequencies is not None:
        inputs = replace(inputs, frequencies=frequencies)
    if not isinstance(references, References):
        references = References(references)
    candidates = match_predictions(references, predictions)
    columns: dict[str, MetricColumn] = {}
    groups = tuple(dict.fromkeys(METRICS[name].group for name in names))
    _warn_of_scripts(candidates, names)
    for group in groups:
        columns.update(FAMILIES[group].scorer(candidates, inputs))
    names = tuple(name for name in names if name in columns)
    return MetricResults(
        image_ids=references.image_ids,
        corpus={name: columns[name].corpus for name in names},
        per_image={n: v for n in names if (v := columns[n].per_image) is not None},
        statistics={n: s for n in names if (s := columns[n].statistic) is not None},
        signatures={name: _sign(name, columns[name], references=references) for name in names},
    )


def resolve_metrics(names: Sequence[str], inputs: MetricInputs | None = None) -> tuple[str, ...]:
    """Return the metrics that names of metrics and groups stand for, in the order of the table.

    Args:
        names: Metrics and groups.
        inputs: Inputs available besides captions; `default` and `all` skip metrics that need more.

    Raises:
        MetricError: A name is neither a metric nor a group, or there are no names.
    """
    # One name is a sequence of letters too.
    names = (names,) if isinstance(names, str) else names
    allowed = list(dict.fromkeys([*METRICS, *METRIC_GROUPS]))
    wanted: set[str] = set()
    for name in names:
        if name not in allowed:
            near = did_you_mean(name, allowed) if isinstance(name, str) else ""
            raise MetricError(
                f"unknown metric {name!r}{near}",
                fix=f"use one of {', '.join(allowed)}",
            )
        own = METRIC_GROUPS.get(name, (name,))
        if name in _OPTIONAL_GROUPS:
            own = tuple(metric for metric in own if not _find_missing(metric, inputs))
        wanted.update(own)
    if not wanted:
        raise MetricError("no metric is given", fix=f"use one of {', '.join(allowed)}")
    return tuple(name for name in METRICS if name in wanted)


def require_metrics(names: Sequence[str], inputs: MetricInputs | None = None) -> tuple[str, ...]:
    """Return the metrics of `resolve_metrics`, after a check that each can be computed.

    Raises:
        MetricError: As for `resolve_metrics`, or a metric needs images or a checkpoint.
        MissingExtraError: A metric needs an extra that is not installed.
    """
    resolved = resolve_metrics(names, inputs)
    for name in resolved:
        _require(name, inputs or MetricInputs())
    return resolved


def list_skipped(names: Sequence[str], inputs: MetricInputs | None = None) -> dict[str, str]:
    """Return how to enable each metric that `default` or `all` skips, by its name."""
    asked = [metric for name in names if name in _OPTIONAL_GROUPS for metric in METRIC_GROUPS[name]]
    kept = resolve_metrics(names, inputs)
    return {name: _find_missing(name, inputs) for name in dict.fromkeys(asked) if name not in kept}


_OPTIONAL_GROUPS = frozenset(["default", "all"])


def _find_missing(name: str, inputs: MetricInputs | None) -> str:
    """Return how to enable a metric in `default` and `all`; empty: nothing is missing."""
    inputs = inputs or MetricInputs()
    try:
        _require(name, inputs)
    except (MissingExtraError, MetricError) as error:
        return error.fix
    if METRICS[name].needs == "bert_score" and inputs.bert_model is None:
        # `all` must not start a download of 1.4 GB.
        return f"ask for bert_score by name, or give its model: --bert-model {DEFAULT_BERT_MODEL}"
    return ""


def _require(name: str, inputs: MetricInputs) -> None:
    needs = METRICS[name].needs
    if needs == "meteor":
        find_source()
    elif needs == "java":
        find_spice()
    elif needs == "bert_score":
        require_bert_score()
    elif needs == "samples":
        _require_samples(name, inputs)
    elif needs and inputs.images is None:
        raise MetricError(f"{name} needs the images", fix="give the images: --images FOLDER")
    elif needs == "pac_checkpoint" and inputs.pac_checkpoint is None:
        raise MetricError(
            f"{name} needs the PAC-S checkpoint", fix="give its weights: --pac-checkpoint FILE"
        )


def _require_samples(name: str, inputs: MetricInputs) -> None:
    if inputs.samples is None:
        raise MetricError(
            f"{name} compares several captions of each image",
            fix="give them: captune score --samples FILE",
        )


def _sign(name: str, column: MetricColumn, *, references: References) -> str:
    is_chosen = FAMILIES[METRICS[name].group].tokens == "chosen"
    tokens = f"|tok:{sign_tokenizer(references.tokenizer)}" if is_chosen else ""
    return f"{name}|{column.variant}{tokens}|{references.description}|captune:{__version__}"


def _warn_of_scripts(candidates: Candidates, names: Sequence[str]) -> None:
    """Warn about captions in a script that some metrics cannot read, with advice."""
    references = candidates.references
    is_chosen = references.tokenizer != DEFAULT_TOKENIZER
    for captions in ([c for own in references.captions for c in own], candidates.captions):
        scripts = measure_scripts(captions)
        if is_chosen:
            scripts = replace(scripts, unspaced="")
        sentences = list(_describe_blindness(scripts, names, is_chosen=is_chosen))
        for sentence in sentences:
            warnings.warn(sentence, UserWarning, stacklevel=3)
        # References and predictions would give the same warning.
        if sentences:
            return


def _describe_blindness(
    scripts: Scripts, names: Sequence[str], *, is_chosen: bool
) -> Iterator[str]:
    """Yield warnings about metrics that misread these scripts; a chosen tokenizer reads all."""
    families = {name: FAMILIES[METRICS[name].group] for name in names}
    counting = [name for name, family in families.items() if family.tokens != "model"]
    latin = [name for name, family in families.items() if family.tokens == "a-z"]
    english = [name for name, family in families.items() if family.is_english]
    share = f"{100 * scripts.outside_a_z:.0f} %"
    if scripts.unspaced and counting:
        flags = " or ".join(f"--tokenize {name}" for name in scripts.tokenizers)
        yield (
            f"{', '.join(counting)}: the captions are {scripts.unspaced}, written without spaces"
            " between words, and each counts as one word or a few: these figures mean nothing."
            f" Choose a tokenizer: {flags} (evaluate.tokenize in a recipe)"
        )
        return
    if scripts.outside_a_z >= _SOME and latin and not is_chosen:
        yield (
            f"{', '.join(latin)}: rouge_score reads only the letters a to z, and {share} of the"
            " words have other letters: these figures mean little. Use rouge_l instead, or choose"
            " --tokenize char (evaluate.tokenize in a recipe)"
        )
    if scripts.outside_a_z >= _MANY and english:
        yield (
            f"{', '.join(english)}: made for English, and {share} of the words have letters other"
            " than a to z; use bleu, rouge_l and cider instead"
        )
