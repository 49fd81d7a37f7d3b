"""The table of commands: all that `captune --help` shows; a command's module is not imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Command:
    """One row of the table of commands.

    Attributes:
        target: `module:name` of a function, or of a `typer.Typer` with commands of its own.
        about: The line in `captune --help`.
        panel: Its heading in that help.
        examples: Words after `captune`, shown at the end of its help.
        prints: Whether its output is its result; losing that output is then an error.
        printing: Its subcommands whose output is their result.
        shares_work: Whether the processes of a launcher (torchrun) share its work.
    """

    target: str
    about: str
    panel: str
    examples: tuple[str, ...] = ()
    prints: bool = False
    printing: tuple[str, ...] = ()
    shares_work: bool = False


_RUNS, _USE, _DATA, _ABOUT = "Train", "Use and measure", "Data and models", "Look around"

COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "demo": Command(
            "captune.cli.run:demo",
            "Train, evaluate and report on the built-in data set.",
            _RUNS,
            (
                "demo",
                "demo --set train.epochs=2 --out runs/short",
            ),
            shares_work=True,
        ),
        "run": Command(
            "captune.cli.run:run",
            "Run a recipe: train, evaluate and report.",
            _RUNS,
            (
                "run flickr8k-blip --dry-run",
                "run demo --set data.path=my-photos --set name=my-photos",
                "run my-recipe.yaml --set train.epochs=5",
                "run my-recipe.yaml --resume",
            ),
            shares_work=True,
        ),
        "train": Command(
            "captune.cli.run:train",
            "Run a recipe up to the trained model.",
            _RUNS,
            ("train my-recipe.yaml --out runs/first",),
            shares_work=True,
        ),
        "caption": Command(
            "captune.cli.caption:caption",
            "Caption images with a model.",
            _USE,
            (
                "caption runs/demo/model photo.jpg",
                "caption runs/demo/model photos/ --to txt --preview 5",
                "caption runs/demo/model photos/ --to txt",
                "caption Salesforce/blip-image-captioning-base photos/ --to jsonl",
            ),
        ),
        "undo": Command(
            "captune.cli.bulk.undo:undo",
            "Restore the files that a run of caption changed.",
            _USE,
            ("undo 20260401-101500-1a2b", "undo photos/"),
        ),
        "merge": Command(
            "captune.cli.bulk.merge:merge",
            "Join the captions of runs with --shard.",
            _USE,
            ("merge all.jsonl all-00001-of-00002.jsonl all-00002-of-00002.jsonl",),
        ),
        "serve": Command(
            "captune.cli.serving.serve:serve_models",
            "Serve models over HTTP.",
            _USE,
            (
                "serve runs/demo/model",
                "serve first=runs/a/model second=runs/b/model --port 9000",
                "serve runs/demo/model --host 0.0.0.0 --api-key-file keys.txt",
            ),
        ),
        "evaluate": Command(
            "captune.cli.evaluate:evaluate",
            "Score a model's captions on a data set.",
            _USE,
            ("evaluate runs/demo/model --data photos/ --split test",),
            prints=True,
        ),
        "compare": Command(
            "captune.cli.evaluate:compare",
            "Score several models side by side.",
            _USE,
            (
                "compare runs/first runs/second --data photos/ --out comparison",
                "compare runs/first runs/second --data photos/ --table latex",
            ),
            prints=True,
        ),
        "score": Command(
            "captune.cli.score:score",
            "Score captions from a file.",
            _USE,
            (
                "score --predictions captions.jsonl --references annotations.json",
                "score --predictions a.json --predictions b.json --references c.json",
                "score --predictions a.json --references c.json --table markdown",
            ),
            prints=True,
        ),
        "runs": Command(
            "captune.cli.runs:runs",
            "List runs, and compare any two on one page.",
            _USE,
            ("runs", "runs experiments/ --out all-runs.html", "runs --table csv > runs.csv"),
            prints=True,
        ),
        "bench": Command(
            "captune.cli.bench:app",
            "Measure speed against the machine's limit.",
            _USE,
            (
                "bench train runs/demo/model --data photos/ --freeze vision",
                "bench caption blip-base --data photos/ --num-beams 5",
                "bench data photos/ --image-size 384 --json data.json",
            ),
            prints=True,
        ),
        "push": Command(
            "captune.cli.push:push",
            "Push a run's model to the hub.",
            _USE,
            ("push runs/demo OWNER/NAME --private",),
        ),
        "data": Command(
            "captune.cli.data:app",
            "Check, show, convert or split a data set.",
            _DATA,
            (
                "data check photos/ --html check.html",
                "data show photos/ --out sheet.png",
                "data convert photos/ out/ --to coco",
                "data split photos/ --out splits --by group",
            ),
            printing=("check",),
        ),
        "export": Command(
            "captune.cli.export:export",
            "Export a model to run without torch.",
            _DATA,
            (
                "export runs/demo/model exported --to openvino",
                "export runs/demo/model small --to openvino --int8 --data photos/",
            ),
        ),
        "init": Command(
            "captune.cli.init:init",
            "Create a model of a named size with random weights.",
            _DATA,
            ("init blip-tiny my-model --train-tokenizer captions.csv",),
        ),
        "recipes": Command(
            "captune.cli.recipes:recipes",
            "List or print shipped recipes.",
            _ABOUT,
            (
                "recipes",
                "recipes demo > my-recipe.yaml",
                "recipes demo --full",
            ),
            prints=True,
        ),
        "models": Command(
            "captune.cli.models:models",
            "List families and named sizes.",
            _ABOUT,
            ("models",),
            prints=True,
        ),
        "doctor": Command(
            "captune.cli.doctor:doctor",
            "Check devices, packages, caches and network.",
            _ABOUT,
            ("doctor",),
            prints=True,
        ),
    }
)
