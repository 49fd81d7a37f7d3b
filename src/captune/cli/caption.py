"""`captune caption`: captions for files, folders, globs and URLs, on the screen or in files.

Errors that can be found early (no image, two images for one text file, a read-only folder) stop the
command before the model is loaded.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from captune.cli.app import FINISHED_WITH_FAILURES, stopping, this_command
from captune.cli.bulk.model import CommandModel
from captune.cli.bulk.preview_lines import dry_run_lines, preview_lines
from captune.cli.bulk.report import BulkReport
from captune.cli.bulk.writing_flags import Writing, takes_writing
from captune.cli.flags.decoding import (
    Backend,
    BatchSize,
    Device,
    ModelArgument,
    Precision,
    Revision,
    takes_decoding,
)
from captune.cli.flags.images import Decode
from captune.cli.flags.urls import AllowUrls, TrustHost, choose_url_rules
from captune.progress import print_line
from captune.recipe import GenerateConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from captune.bulk import BulkSettings, FoundItem


Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT",
        help="Files, folders, globs, tars, Parquet files, hub data sets owner/name or"
        " owner/name@REVISION, s3:// and gs:// prefixes, and URLs (--allow-urls).",
    ),
]
FromList = Annotated[
    str | None,
    typer.Option("--from", metavar="FILE|-", help="List of images in a file, or on stdin."),
]
FromFormat = Annotated[
    Literal["lines", "null", "jsonl", "csv"],
    typer.Option(
        help="lines: one name per line. null: names ended by NUL, as `find -print0` writes them."
        " jsonl, csv: rows with a name, such as captune's own. Names are relative to the current"
        " folder."
    ),
]
ImageColumn = Annotated[
    str | None,
    typer.Option(help="Column of the images in lists, Parquet files and hub data sets."),
]
Follow = Annotated[bool, typer.Option("--follow", help="Follow links that lead outside a folder.")]
AllowTruncated = Annotated[
    bool,
    typer.Option(
        "--allow-truncated",
        help="Caption truncated images from the part that is readable, with the flag `truncated`.",
    ),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Maximum number of images to caption.")]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Retry images that failed before.")
]
ShardFlag = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Caption the I-th of N shares; the others are for other processes or machines.",
    ),
]
EngineFlag = Annotated[
    Literal["local", "ray"],
    typer.Option(
        "--engine",
        help="local: this machine. ray: the Ray cluster of RAY_ADDRESS, or this machine.",
    ),
]
Actors = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Processes with a model on the Ray cluster.",
        show_default="one per GPU, else one per node",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be captioned; load and write nothing.")
]
Preview = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=100_000,
        metavar="N",
        help="Caption N images and show the changes; write nothing.",
    ),
]


@takes_decoding
@takes_writing
def caption(
    model: ModelArgument,
    inputs: Inputs = None,
    *,
    from_list: FromList = None,
    from_format: FromFormat = "lines",
    image_column: ImageColumn = None,
    follow: Follow = False,
    allow_urls: AllowUrls = False,
    trust_host: TrustHost = None,
    allow_truncated: AllowTruncated = False,
    limit: Limit = None,
    retry_failed: RetryFailed = False,
    shard: ShardFlag = None,
    engine: EngineFlag = "local",
    actors: Actors = None,
    dry_run: DryRun = False,
    preview: Preview = None,
    batch_size: BatchSize = None,
    decode: Decode = "isolated",
    backend: Backend = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    revision: Revision = None,
    writing: Writing,
    decoding: GenerateConfig,
) -> None:
    """Caption images with a model.

    Images that already have a caption are skipped, so the same command resumes a stopped one.
    Broken images are listed at the end; the exit code is then 3.
    """
    from captune.bulk import (
        BulkResult,
        BulkSettings,
        FeedSettings,
        RunEngine,
        SourceOptions,
        Surroundings,
        choose_decode,
        count_images,
        find_items,
        read_share,
        run_bulk,
    )

    where = RunEngine(engine, actors)
    where.check()
    rules = choose_url_rules(allow_urls, trust_host)
    share = None if shard is None else read_share(shard)
    feed = FeedSettings(limit, retry_failed, share, allow_truncated)
    settings = BulkSettings(
        **writing.chosen(),
        decoding=decoding,
        batch_size=batch_size,
        decode=choose_decode(decode, allow_truncated=allow_truncated),
        feed=feed,
        follow_links=follow,
        url_rules=rules,
    )
    named = tuple(inputs or ())
    options = SourceOptions(follow, rules, from_list, from_format, image_column)
    found = find_items(named, options)
    chosen = CommandModel(model, backend, device, precision, revision, where)
    if dry_run or preview is not None:
        _show_plan(chosen, found, inputs=named, settings=settings, num_captions=preview or 0)
        return
    result = BulkResult()
    report = BulkReport(result, shows_progress=_writes_files(settings), limit=limit)
    with report.progress() as on_progress, stopping(report.describe_stop), _until_reader_leaves():
        around = Surroundings(
            sys.stdout.buffer,
            this_command(),
            on_progress,
            say=partial(print_line, to_stderr=True),
            count=partial(count_images, named, options, share=feed.share),
        )
        run_bulk(chosen, found, inputs=named, settings=settings, result=result, surroundings=around)
    report.show()
    if result.outcome.num_failed:
        raise typer.Exit(FINISHED_WITH_FAILURES)


@contextmanager
def _until_reader_leaves() -> Iterator[None]:
    """End the body if its captions go to stdout only, and `| head` has read enough of them."""
    from captune.bulk import ReaderGoneError

    with suppress(ReaderGoneError):
        yield


def _show_plan(
    model: CommandModel,
    found: Iterable[FoundItem],
    *,
    inputs: tuple[str, ...],
    settings: BulkSettings,
    num_captions: int,
) -> None:
    """Print what a run would do; with `num_captions`, caption that many images."""
    from captune.bulk import preview_run

    shown = preview_run(model, found, inputs=inputs, settings=settings, num_captions=num_captions)
    for line in preview_lines(shown) if num_captions else dry_run_lines(shown):
        print_line(line)


def _writes_files(settings: BulkSettings) -> bool:
    """Return whether the screen is free for progress, because no captions go there."""
    from captune.bulk import choose_outputs

    stdout = sys.stdout
    return choose_outputs(settings).stream is None or not stdout.isatty()
