"""Time and memory of captune's metrics and pycocoevalcap's on the same captions, in one command.

    python benchmarks/score.py [--images N] [--meteor] [--cpu] [--repeats 3]
    python benchmarks/score.py --all            every table of docs/metrics/speed.md in turn

Each side runs in separate processes, in turns, so that their memory is separate and nothing is
warm. The start of processes, with one caption of two words scored, is not counted on either side.
Figures are medians of the repeats. Memory is reported twice: the peak (of the process or of its
Java, whichever is larger), and its growth above a process that has loaded its packages and the
captions, but has not scored anything yet.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import io
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("CAPTUNE_REAL_DATA", "data")) / "metrics"
STEP_NAMES = {
    "tokenize": "tokenize",
    "count": "count n-grams",
    "bleu": "BLEU-1..4",
    "rouge_l": "ROUGE-L",
    "cider": "CIDEr-D",
    "meteor": "METEOR",
}
STEPS = tuple(STEP_NAMES)

ALL_TABLES = (["--meteor"], [], ["--images", "40504"])
"""Options of the tables in docs/metrics/speed.md."""


def main() -> None:
    options = parse_options()
    if options.side:
        measure_side(options)
        return
    given = [word for word in sys.argv[1:] if word != "--all"]
    for own in ALL_TABLES if options.all else ([],):
        sides = measure_both([*given, *own], repeats=options.repeats)
        check_equal(sides)
        print_table(sides, unit="CPU s" if options.cpu else "s")
        print(flush=True)


def measure_both(words: list[str], *, repeats: int) -> dict[str, dict]:
    """Return medians of both sides, run in turns, so that other load affects both."""
    runs: dict[str, list[dict]] = {"pycocoevalcap": [], "captune": []}
    for _ in range(repeats):
        for side, own in runs.items():
            own.append(run_side(side, words))
    return {
        side: {key: statistics.median(run[key] for run in own) for key in own[0] if key != "values"}
        | {"values": own[0]["values"]}
        for side, own in runs.items()
    }


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--references", type=Path, default=DATA / "val5k_references.json")
    parser.add_argument("--predictions", type=Path, default=DATA / "val5k_predictions.json")
    parser.add_argument(
        "--images", type=int, help="repeat the images with changed words up to this number"
    )
    parser.add_argument("--meteor", action="store_true", help="include METEOR")
    parser.add_argument("--cpu", action="store_true", help="CPU seconds, for a busy machine")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--all", action="store_true", help="every table of docs/metrics/speed.md")
    parser.add_argument("--side", choices=["pycocoevalcap", "captune"], help=argparse.SUPPRESS)
    return parser.parse_args()


def run_side(side: str, words: list[str]) -> dict[str, object]:
    command = [sys.executable, __file__, *words, "--side", side]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure_side(options: argparse.Namespace) -> None:
    references, predictions = read_captions(options)
    measure = measure_reference if options.side == "pycocoevalcap" else measure_captune
    with contextlib.redirect_stdout(io.StringIO()):
        measured = measure(references, predictions, meteor=options.meteor)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    java = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    # Both are in memory at the same time; the larger one alone favours the reference.
    measured["peak_mb"] = max(own, java) / 1024
    measured["growth_mb"] = max(own / 1024 - measured.pop("start_mb"), java / 1024)
    measured["images"] = len(references)
    measured["captions"] = sum(map(len, references.values())) + len(predictions)
    if options.side == "captune":
        measured["resample"] = time_intervals(references, predictions)
    print(json.dumps(measured))


def time_intervals(references: dict[str, list[str]], predictions: dict[str, str]) -> float:
    """Return the seconds for intervals of six metrics, 1,000 resamples; the reference has none."""
    from captune.metrics import bootstrap_intervals, compute

    results = compute(references, predictions, metrics=["bleu", "rouge_l", "cider"])
    return clock(lambda: bootstrap_intervals(results))[0]


def read_captions(options: argparse.Namespace) -> tuple[dict[str, list[str]], dict[str, str]]:
    references = json.loads(options.references.read_text(encoding="utf-8"))
    predictions = json.loads(options.predictions.read_text(encoding="utf-8"))
    if not options.images:
        return references, predictions
    generator = random.Random(0)
    words = sorted({word for own in references.values() for c in own for word in c.split(" ")})
    more, captioned = dict(references), dict(predictions)
    copy = 0
    while len(more) < options.images:
        copy += 1
        for image_id in list(references)[: options.images - len(more)]:
            captions = references[image_id]
            more[f"{copy}-{image_id}"] = [change(c, words, generator) for c in captions]
            captioned[f"{copy}-{image_id}"] = change(predictions[image_id], words, generator)
    kept = list(more)[: options.images]
    return {i: more[i] for i in kept}, {i: captioned[i] for i in kept}


def change(caption: str, words: list[str], generator: random.Random) -> str:
    """Move one word, and replace one in half of the captions, so that copies differ."""
    parts = caption.split(" ")
    parts.insert(generator.randrange(len(parts)), parts.pop(generator.randrange(len(parts))))
    if generator.random() < 0.5:
        parts[generator.randrange(len(parts))] = generator.choice(words)
    return " ".join(parts)


def measure_reference(
    references: dict[str, list[str]], predictions: dict[str, str], *, meteor: bool
) -> dict[str, object]:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    own = {key: [{"caption": c} for c in captions] for key, captions in references.items()}
    other = {key: [{"caption": caption}] for key, caption in predictions.items()}
    tokenizer = PTBTokenizer()
    start = min(clock(lambda: tokenizer.tokenize({"1": [{"caption": "a"}]}))[0] for _ in range(2))
    measured: dict[str, object] = {"start_mb": peak_so_far()}
    seconds, tokens = clock(lambda: (tokenizer.tokenize(own), tokenizer.tokenize(other)))
    measured["tokenize"] = seconds - 2 * start
    values = {}
    scorers = {"bleu": Bleu(4), "rouge_l": Rouge(), "cider": Cider()}
    for name, scorer in scorers.items():
        measured[name], (value, _) = clock(lambda scorer=scorer: scorer.compute_score(*tokens))
        values |= {"bleu_4": value[3]} if name == "bleu" else {name: float(value)}
    if meteor:
        scorer = Meteor()
        # The jar reads its tables before the first caption; that is part of its start.
        clock(lambda: scorer.compute_score({"1": ["a dog"]}, {"1": ["a dog"]}))
        measured["meteor"], (values["meteor"], _) = clock(lambda: scorer.compute_score(*tokens))
        scorer.meteor_p.kill()
        scorer.meteor_p.wait()
    measured["values"] = values
    return measured


def measure_captune(
    references: dict[str, list[str]], predictions: dict[str, str], *, meteor: bool
) -> dict[str, object]:
    from captune.metrics import References, compute
    from captune.metrics.counting.candidates import match_predictions
    from captune.metrics.scores.bleu import score_bleu
    from captune.metrics.scores.cider import score_cider
    from captune.metrics.scores.rouge import score_rouge_l

    # Both sides score one caption first: what that loads is part of the start of the process.
    start = ["bleu", "rouge_l", "cider_plain"] + ["meteor"] * meteor
    with warnings.catch_warnings(action="ignore"):
        compute({"1": ["a dog"]}, {"1": "a dog"}, metrics=start)
    measured: dict[str, object] = {"start_mb": peak_so_far()}
    begin = now()
    counted = References(references)
    candidates = match_predictions(counted, predictions)
    clock(lambda: (counted.words, candidates.words))
    measured["tokenize"] = now() - begin
    # BLEU and CIDEr share these counts.
    measured["count"], _ = clock(lambda: (counted.frequencies, candidates.matches))
    values = {}
    scorers = {"bleu": score_bleu, "rouge_l": score_rouge_l, "cider": score_cider}
    for name, scorer in scorers.items():
        measured[name], columns = clock(lambda scorer=scorer: scorer(candidates))
        values |= {key: column.corpus for key, column in columns.items()}
    if meteor:
        measured["meteor"], results = clock(
            lambda: compute(counted, predictions, metrics=["meteor"])
        )
        values |= results.corpus
    measured["values"] = values
    return measured


def peak_so_far() -> float:
    """Return the peak memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def check_equal(sides: dict[str, dict]) -> None:
    for name, value in sides["pycocoevalcap"]["values"].items():
        own = sides["captune"]["values"][name]
        if abs(own - value) > 1e-12:
            raise SystemExit(f"{name} differs: pycocoevalcap {value!r}, captune {own!r}")


def print_table(sides: dict[str, dict], *, unit: str) -> None:
    reference, own = sides["pycocoevalcap"], sides["captune"]
    print(f"{own['images']:.0f} images, {own['captions']:.0f} captions; {describe_machine()}")
    print()
    print(f"| times | step | pycocoevalcap, {unit} | captune, {unit} |")
    print("|---|---|---|---|")
    totals = {"all but METEOR": [s for s in STEPS if s != "meteor"], "all": list(STEPS)}
    if "meteor" not in own:
        del totals["all"]
    for step in STEPS:
        if step in own or step in reference:
            print_row(STEP_NAMES[step], reference.get(step), own.get(step))
    for name, steps in totals.items():
        print_row(
            f"**{name}**",
            *(sum(side.get(step, 0.0) for step in steps) for side in (reference, own)),
        )
    print_row("peak memory, MB", reference["peak_mb"], own["peak_mb"], digits=0)
    name = "peak memory above packages and captions, MB"
    print_row(name, reference["growth_mb"], own["growth_mb"], digits=0)
    print_row("95 % intervals of six metrics, 1,000 resamples", None, own["resample"])


def print_row(name: str, reference: float | None, own: float | None, *, digits: int = 3) -> None:
    shown = ["" if value is None else f"{value:.{digits}f}" for value in (reference, own)]
    times = f"{reference / own:.1f}" if reference and own else ""
    print(f"| {times} | {name} | {shown[0]} | {shown[1]} |")


def describe_machine() -> str:
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    model = models[0] if models else platform.processor() or platform.machine()
    today = datetime.date.today().isoformat()
    python = platform.python_version()
    return f"{model}, {os.cpu_count()} cores, Python {python}, {today}"


def clock(work):
    start = now()
    result = work()
    return now() - start, result


def now() -> float:
    """Return wall-clock seconds, or with --cpu the CPU seconds of this process and its children."""
    if "--cpu" not in sys.argv:
        return time.perf_counter()
    own, ended = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    seconds = own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
    # METEOR's Java is still running at this point.
    for child in Path("/proc/self/task").glob("*/children"):
        for pid in child.read_text().split():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


if __name__ == "__main__":
    main()
