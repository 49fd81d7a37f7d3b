"""Push a run to the hub: model, card with scores, examples to try, plots and recipe.

The run's folder is only read, never written, so a push that failed can simply be repeated.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from captune.errors import DataError, ImageError, ModelError
from captune.hub import (
    EXAMPLES_PLACE,
    PLACEHOLDER,
    PLOTS_PLACE,
    PushedRepo,
    RepoFile,
    check_model_folder,
    choose_task,
    describe_use,
    model_folder,
    open_repo,
    push_files,
    read_json_file,
    require_weights,
)
from captune.publishing.examples import EXAMPLE_PATHS, FIX_FILE, Example, find_examples
from captune.recipe import dump_recipe, hide_local_paths, load_recipe
from captune.storage import expand_home, has_regular, read_json_object
from captune.text_safety import clean_text, escape_markdown

_FACTS = ("scores.json", "train_metrics.json")
_WITH_PICTURES = ("samples.png", "captions.png")
_PICTURES = (*EXAMPLE_PATHS, *(f"plots/{name}" for name in _WITH_PICTURES))
_PLOT_LINK = re.compile(r"!\[[^\]]*\]\(\.\./plots/(?P<name>[^)]+)\)")
_METADATA = re.compile(r"---\n(?P<yaml>.*?)\n---\n", flags=re.DOTALL)
_BARE_CARD = """---
library_name: transformers
pipeline_tag: {task}
tags:
- image-captioning
- captune
---

# {title}

An image captioning model trained with captune. It has not been evaluated yet.

{use}
"""


@dataclass(frozen=True, slots=True)
class PushedRun:
    """What was pushed.

    Attributes:
        repo: The repository.
        commit: Hash of the commit; an older one if nothing had changed.
        paths: Names of all files in the repository.
        examples: Images that were pushed with their captions.
        has_license: Whether the card states a licence.
    """

    repo: PushedRepo
    commit: str
    paths: tuple[str, ...]
    examples: tuple[Example, ...] = ()
    has_license: bool = True


def push_run(run: Path, repo: str, *, private: bool = False, with_images: bool = True) -> PushedRun:
    """Push a run's model with its card, scores and plots in one commit.

    Args:
        run: A run's folder, or a model's folder, which is then pushed without scores.
        repo: `owner/name`, or `name` for your own account.
        private: Whether the repository must be private.
        with_images: Include example images and plots that show images of the data set. If false,
            those of an earlier push are removed, although its commit keeps them.

    Raises:
        ModelError: The folder holds no model, or one that cannot be loaded.
        DataError: A file of the run is damaged.
        RecipeError: Its recipe is damaged.
        OutputError: The push failed; nothing local has changed.
    """
    run = expand_home(run)
    where = f"RUN {run}"
    model = model_folder(run)
    if model == run:
        run = Path()
    _check_model(model, where=where)
    examples = find_examples(run) if with_images and run != Path() else ()
    # Prepared first: an error here should not leave an empty repository behind.
    files = [*_model_files(model), *(_run_files(run, with_images) if run != Path() else ())]
    files += [RepoFile(example.path, example.jpeg) for example in examples]
    card = _write_card(model, repo, examples=examples, paths={f.path for f in files})
    opened = open_repo(repo, private=private)
    files.append(_card_file(card, opened.repo))
    name = run.resolve().name if run != Path() else model.resolve().name
    commit = push_files(
        opened, files, message=f"Push {name} with captune", remove=() if with_images else _PICTURES
    )
    paths = tuple(sorted(file.path for file in files))
    metadata = _METADATA.match(card)
    has_license = metadata is not None and "\nlicense:" in f"\n{metadata['yaml']}"
    return PushedRun(opened, commit, paths, tuple(examples), has_license)


def push_model(model: Path, repo: PushedRepo, *, message: str) -> str:
    """Push a model's folder, with a bare card if it has none, and return the commit.

    Raises:
        ModelError: The folder holds no model.
        OutputError: The push failed.
    """
    require_weights(model, where=str(model))
    files = _model_files(model)
    card = _write_card(model, repo.repo, examples=(), paths={file.path for file in files})
    return push_files(repo, [*files, _card_file(card, repo.repo)], message=message)


def _check_model(model: Path, *, where: str) -> None:
    """Load a model, as everybody will who uses what is pushed.

    Raises:
        ModelError: The folder holds no model, one that cannot be loaded, or a damaged file.
    """
    check_model_folder(model, where=where)
    # Also those that captune does not need: other programs may.
    for path in sorted(model.glob("*.json")):
        read_json_file(str(model), path.name, where=where)

    from captune.models import load_captioner

    load_captioner(model, where=where)


def _model_files(model: Path) -> list[RepoFile]:
    check_model_folder(model, where=f"RUN {model}")
    paths = sorted(path for path in model.rglob("*") if path.is_file())
    names = [(path, path.relative_to(model).as_posix()) for path in paths]
    hidden = [name for _, name in names if name.startswith(".") or "/." in name]
    return [
        RepoFile(name, path)
        for path, name in names
        if name not in hidden and name != "README.md" and not name.endswith(".pyc")
    ]


def _run_files(run: Path, with_images: bool) -> list[RepoFile]:
    facts = [name for name in _FACTS if has_regular(run / name, fix=FIX_FILE)]
    for name in facts:
        read_json_object(run / name, fix=FIX_FILE)
    files = [RepoFile(name, run / name) for name in facts]
    plots = sorted((run / "plots").glob("*.png"))
    chosen = [path for path in plots if with_images or path.name not in _WITH_PICTURES]
    for path in chosen:
        _check_plot(path)
    files += [RepoFile(f"plots/{path.name}", path) for path in chosen]
    if has_regular(run / "recipe.yaml", fix=FIX_FILE):
        recipe = hide_local_paths(load_recipe(run / "recipe.yaml"))
        files.append(RepoFile("recipe.yaml", dump_recipe(recipe).encode("utf-8")))
    return files


def _check_plot(path: Path) -> None:
    from captune.data import decode_image

    has_regular(path, fix=FIX_FILE)
    try:
        decode_image(path)
    except ImageError as error:
        raise DataError(f"{path} is damaged: {error.what}", fix=FIX_FILE) from error


def _write_card(
    model: Path, repo: str, *, examples: Sequence[Example], paths: Collection[str]
) -> str:
    """Return the model's card for the hub, with only links that resolve; it lacks the id."""
    place = model / "README.md"
    if has_regular(place, fix=FIX_FILE):
        card = _read_card(place)
    else:
        card = _BARE_CARD.format(
            title=repo.rpartition("/")[2], task=choose_task(model), use=describe_use(model)
        )
    card = card.replace(EXAMPLES_PLACE, _show_examples(examples))
    card = card.replace(PLOTS_PLACE, _show_plots(paths))
    lines = []
    for line in card.split("\n"):
        link = _PLOT_LINK.fullmatch(line)
        if link is None:
            lines.append(line)
        elif f"plots/{link['name']}" in paths:
            lines.append(line.replace("(../plots/", "(plots/"))
    return _add_examples("\n".join(lines), examples, model=model)


def _read_card(place: Path) -> str:
    try:
        return place.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelError(
            f"the model card is not UTF-8: byte {error.start} cannot be read",
            where=str(place),
            fix="save it as UTF-8",
        ) from error


def _card_file(card: str, repo: str) -> RepoFile:
    """Return a card with the id of the repository in its code."""
    return RepoFile("README.md", card.replace(f'"{PLACEHOLDER}"', f'"{repo}"').encode("utf-8"))


def _show_examples(examples: Sequence[Example]) -> str:
    """Return a table of images with their captions; empty without any."""
    if not examples:
        return ""
    has_before = any(example.before is not None for example in examples)
    columns = ["image", *(["before training"] * has_before), "this model", "a human"]
    rows = []
    for example in examples:
        captions = [example.caption, example.human]
        if has_before:
            captions.insert(0, example.before or "")
        cells = [f"![{example.title}]({example.path})", *map(escape_markdown, captions)]
        rows.append("| " + " | ".join(cells) + " |")
    head = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join([*head, *rows])


def _show_plots(paths: Collection[str]) -> str:
    """Return a section with the plots that are pushed; empty without any."""
    names = [path for path in sorted(paths) if path.startswith("plots/")]
    links = [f"![{Path(name).stem.replace('_', ' ')}]({name})" for name in names]
    return "\n".join(["## Plots", "", *links]) if links else ""


def _add_examples(card: str, examples: Sequence[Example], *, model: Path) -> str:
    """Add images to try in the hub's widget, with their captions."""
    found = _METADATA.match(card)
    if not examples or found is None:
        return card
    try:
        metadata: Any = yaml.safe_load(found["yaml"]) or {}
    except yaml.YAMLError as error:
        raise ModelError(
            f"the metadata of {model / 'README.md'} is not valid YAML: {error}", fix="correct it"
        ) from error
    if not isinstance(metadata, dict):
        raise ModelError(
            f"the metadata of {model / 'README.md'} is not a mapping",
            fix="write `key: value` lines between the two lines of three hyphens",
        )
    metadata["widget"] = [
        {"src": e.path, "example_title": e.title, "output": {"text": clean_text(e.caption)}}
        for e in examples
    ]
    head = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{head}---\n{card[found.end() :]}"
