"""`captune caption`: captions for files, folders, globs and URLs, on the screen or in files.

Every error that can be found early (no image, two images for one text file, a read-only folder)
stops the command before the model is loaded.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from captune.cli.app import FINISHED_WITH_FAILURES, stopping
from captune.cli.flags.decoding import (
    Backend,
    BatchSize,
    Device,
    ModelArgument,
    Precision,
    Revision,
    model_to_load,
    takes_decoding,
)
from captune.cli.flags.images import Decode
from captune.cli.flags.urls import AllowUrls, TrustHost, choose_url_rules
from captune.errors import ImageError, OutputError, RecipeError
from captune.progress import Progress, no_progress, print_line, show_progress
from captune.recipe import GenerateConfig

if TYPE_CHECKING:
    from captune.data import DecodeMode
    from captune.inference import (
        AnyImage,
        ImageFiles,
        LoadedCaptioner,
        RunRequest,
        Target,
        UrlRules,
    )
    from captune.records import Prediction


Inputs = Annotated[
    list[str],
    typer.Argument(metavar="INPUT...", help="Files, folders, globs, and URLs (--allow-urls)."),
]
To = Annotated[
    Literal["stdout", "txt", "jsonl", "csv"] | None,
    typer.Option(
        help="stdout: path and caption. txt: a file beside each image. jsonl, csv: one file (--out)"
        " or the screen.",
        show_default="by the ending of --out, else stdout",
    ),
]
Out = Annotated[Path | None, typer.Option(help="File for jsonl or csv.")]
Force = Annotated[bool, typer.Option("--force", help="Caption again what already has a caption.")]
SidecarName = Annotated[
    Literal["stem", "full"], typer.Option(help="stem: photo.txt; full: photo.jpg.txt.")
]
Follow = Annotated[bool, typer.Option("--follow", help="Follow links that lead outside a folder.")]


@takes_decoding
def caption(
    model: ModelArgument,
    inputs: Inputs,
    *,
    to: To = None,
    out: Out = None,
    force: Force = False,
    sidecar_name: SidecarName = "stem",
    follow: Follow = False,
    allow_urls: AllowUrls = False,
    trust_host: TrustHost = None,
    batch_size: BatchSize = 16,
    decode: Decode = "isolated",
    backend: Backend = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    revision: Revision = None,
    decoding: GenerateConfig,
) -> None:
    """Caption images with a model.

    Images that already have a caption are skipped, so the same command resumes a stopped one.
    Broken images are listed at the end; the exit code is then 3.
    """
    from captune.inference import RunRequest, digest_model, find_images, open_destination

    rules = choose_url_rules(allow_urls, trust_host)
    files = find_images(inputs, follow_links=follow, url_rules=rules)
    target = _choose_target(to, out)
    if target == "txt" and files.urls:
        raise OutputError(
            f"a URL has no folder for a .txt file: {files.urls[0]}", fix="--to jsonl or --to csv"
        )
    report = _Report([(str(path), error) for path, error in files.unreadable])
    report.num_links = len(files.skipped_links)
    report.shows_progress = target == "txt" or out is not None or not sys.stdout.isatty()
    with open_destination(
        target,
        files.paths,
        out=out or sys.stdout.buffer,
        made_by={
            "model": model,
            "revision": revision,
            "digest": digest_model(model) if out else None,
            "decoding": decoding.model_dump(),
        },
        sidecar_name=sidecar_name,
        force=force,
    ) as destination:
        images = _by_id(files, rules)
        waiting = {name: image for name, image in images.items() if not destination.has(name)}
        report.num_skipped = len(images) - len(waiting)
        if waiting:
            destination.check_addition()
            captioner = _load(RunRequest(model, backend, len(waiting), device, precision, revision))
            with (
                stopping(report.describe_stop),
                closing(
                    _predictions(
                        captioner,
                        waiting,
                        decoding,
                        batch_size=batch_size,
                        decode=decode,
                        report=report,
                    )
                ) as predictions,
            ):
                for prediction in predictions:
                    report.num_kept += not destination.write(prediction)
        destination.finish()
    report.show()
    if report.failures:
        raise typer.Exit(FINISHED_WITH_FAILURES)


@dataclass(slots=True)
class _Report:
    """The summary printed to stderr at the end.

    Attributes:
        failures: Path and reason of each image without a caption.
        num_captions: Captions with text.
        num_skipped: Images that already had a caption.
        num_kept: Text files that another program wrote meanwhile; those are not overwritten.
        num_links: Links not followed.
        hardware: What runs the model, once a model is loaded.
        started: Clock at the first image, in seconds.
        shows_progress: Whether to show progress: no captions go to the screen.
    """

    failures: list[tuple[str, ImageError]] = field(default_factory=list)
    num_captions: int = 0
    num_skipped: int = 0
    num_kept: int = 0
    num_links: int = 0
    hardware: str = ""
    started: float = 0.0
    shows_progress: bool = True

    def show(self) -> None:
        """Print counts and speed, then every failure with its reason."""
        parts = [self._speed()] if self.hardware else []
        if self.num_skipped:
            parts.append(f"{self.num_skipped} already had a caption (--force captions them again)")
        if self.num_kept:
            parts.append(
                f"{self.num_kept} text files were written by another program meanwhile and kept"
            )
        if self.num_links:
            parts.append(
                f"{self.num_links} links that lead outside the folder were not followed (--follow)"
            )
        if self.failures:
            parts.append(f"{len(self.failures)} failed:")
        _say("; ".join(parts))
        for path, error in self.failures:
            fix = f" ({error.fix})" if error.fix else ""
            _say(f"  failed:{error.what}  {path}{fix}")

    def describe_stop(self) -> str:
        """Return what is kept when a signal ends the command, and how to resume."""
        return f"{self.num_captions} captions are kept: run the same command again to resume"

    def _speed(self) -> str:
        seconds = time.perf_counter() - self.started
        rate = self.num_captions / max(seconds, 1e-9)
        return (
            f"{self.num_captions} captioned in {seconds:.1f} s, {rate:.1f} images/s on"
            f" {self.hardware}"
        )


def _by_id(files: ImageFiles, rules: UrlRules | None) -> dict[str, AnyImage]:
    """Return every image by its id: files, then URLs, each fetched when its turn comes."""
    from captune.inference import UrlFetcher, UrlImage

    images: dict[str, AnyImage] = {str(path): path for path in files.paths}
    if rules is not None:
        fetcher = UrlFetcher(rules)
        images |= {url: UrlImage(url, fetcher) for url in files.urls}
    return images


def _choose_target(to: Target | None, out: Path | None) -> Target:
    """Return the given format, else that of the file's ending, else `stdout`."""
    if to in ("txt", "stdout") and out is not None:
        raise OutputError(
            f"--to {to} writes no single file, so --out {out} cannot be used with it",
            fix="--to jsonl or --to csv",
        )
    if to is not None:
        return to
    if out is None:
        return "stdout"
    by_ending: dict[str, Target] = {".jsonl": "jsonl", ".csv": "csv"}
    if out.suffix.lower() not in by_ending:
        raise OutputError(
            f"the ending of --out {out} names no format", fix="add --to jsonl or --to csv"
        )
    return by_ending[out.suffix.lower()]


def _load(request: RunRequest) -> LoadedCaptioner:
    from captune.inference import load

    model, revision = model_to_load(request), request.revision
    try:
        return load(model, device=request.device, precision=request.precision, revision=revision)
    except RecipeError as error:
        # Recipes share this check, so it names their keys.
        where = error.where.replace("train.", "--")
        raise RecipeError(error.what, where=where, fix=error.fix) from error


def _predictions(
    captioner: LoadedCaptioner,
    images: Mapping[str, AnyImage],
    decoding: GenerateConfig,
    *,
    batch_size: int,
    decode: DecodeMode,
    report: _Report,
) -> Generator[Prediction]:
    """Yield captions in the order of the images; count them and note failures."""
    report.hardware, report.started = captioner.describe(), time.perf_counter()
    with _progress(len(images), is_shown=report.shows_progress) as progress:

        def fail(image_id: str, error: ImageError) -> None:
            report.failures.append((image_id, error))
            progress.advance()

        for prediction in captioner.stream(
            images.items(),
            config=captioner.complete(decoding),
            batch_size=batch_size,
            decode=decode,
            on_failure=fail,
        ):
            yield prediction
            if "empty" in prediction.flags:
                report.failures.append((prediction.image_id, ImageError("empty_caption")))
            else:
                report.num_captions += 1
            progress.advance()


@contextmanager
def _progress(total: int, *, is_shown: bool) -> Iterator[Progress]:
    """Show progress on stderr, unless the captions appear on the same screen."""
    if is_shown:
        with show_progress("captioning", total) as progress:
            yield progress
    else:
        yield no_progress()


def _say(text: str) -> None:
    print_line(text, to_stderr=True)
