"""`captune data check|show|convert|split`: check, show, convert or split a data set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from captune.cli.app import FINISHED_WITH_FAILURES, stopping
from captune.cli.flags.groups import takes
from captune.cli.flags.images import Decode
from captune.cli.flags.reading import read_options
from captune.errors import OutputError
from captune.progress import open_console, print_line, show_progress
from captune.storage import RUN_AGAIN, check_files, check_outputs, expand_home, lock_folder
from captune.suggest import format_count
from captune.text_safety import escape_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from captune.data import DataCheck, LoadedData, LoadOptions, ReadBack
    from captune.records import CaptionRecord

app = typer.Typer(no_args_is_help=True, help="Check, show, convert or split a data set.")

_MAX_LISTED = 10

Data = Annotated[
    str,
    typer.Argument(
        help="Folder, file, tar shards, hub id, kaggle://owner/name, or shapes[:COUNT]."
    ),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Read only this many images.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]


@app.command()
@takes("reading", read_options)
def check(
    data: Data,
    *,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the findings to this file.")
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", help="Write a readable page to this file.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Folder or hub id: also count tokens and truncated captions.")
    ] = None,
    max_caption_tokens: Annotated[
        int, typer.Option(min=1, help="Captions are truncated to this many tokens in training.")
    ] = 64,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Images with more pixels are unreadable.")
    ] = 100_000_000,
    decode: Decode = "inline",
    limit: Limit = None,
    revision: Annotated[str | None, typer.Option(help="Hub branch, tag or commit.")] = None,
    streaming: Annotated[
        bool,
        typer.Option(
            "--streaming", help="Read a hub data set or tar shards at a URL without keeping them."
        ),
    ] = False,
    force: Force = False,
    reading: LoadOptions,
) -> None:
    """Find missing, broken and duplicate images, split leaks and useless captions.

    Exits with 3 when images cannot be used or the same image is in two splits.
    """
    from functools import partial

    from captune.data import (
        DecodeOptions,
        check_data,
        choose_kept,
        load_records,
    )
    from captune.evaluation import render_data_check
    from captune.storage import write_text

    read = [expand_home(data)]
    check_files(json_file, html_file, inputs=read, force=force, creates_folders=False)
    options = replace(reading, limit=limit, revision=revision, streaming=streaming)
    loaded = load_records(data, options)
    coder = _load_coder(tokenizer) if tokenizer else None
    with show_progress("reading images", len(loaded.records)) as progress:
        findings = check_data(
            loaded,
            count_tokens=None if coder is None else coder.count,
            max_caption_tokens=max_caption_tokens,
            decoding=DecodeOptions(decode, max_pixels),
            kept=choose_kept(loaded, say=print_line),
            report_progress=progress.move_to,
        )
    if coder is not None:
        findings = _add_round_trip(findings, loaded, read_back=coder.read_back)
    _print_findings(findings)
    for path, text in (
        (json_file, findings.to_json),
        (html_file, partial(render_data_check, findings)),
    ):
        if path is not None:
            write_text(path, text())
            print_line(f"written: {path}")
    if findings.num_errors:
        raise typer.Exit(FINISHED_WITH_FAILURES)


@app.command()
@takes("reading", read_options)
def show(
    data: Data,
    *,
    out: Annotated[Path, typer.Option(help="Picture to write: .png, .jpg, .webp or .pdf.")] = Path(
        "contact_sheet.png"
    ),
    num_images: Annotated[int, typer.Option(min=1, help="Number of images.")] = 20,
    columns: Annotated[int, typer.Option(min=1, help="Images per row.")] = 5,
    width: Annotated[int, typer.Option(min=80, help="Width per image in pixels.")] = 260,
    split: Annotated[
        Literal["train", "val", "test"] | None, typer.Option(help="Only images of this split.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Choose images at random; default: the first.")
    ] = None,
    decode: Decode = "inline",
    force: Force = False,
    reading: LoadOptions,
) -> None:
    """Draw images with their captions into one picture."""
    from captune.data import (
        check_picture_name,
        contact_sheet,
        load_records,
        name_missing_glyphs,
        select_split,
        write_picture,
    )

    check_files(out, inputs=[expand_home(data)], force=force, creates_folders=False)
    check_picture_name(out)
    # Read no further than the last image shown, unless they are chosen from all.
    limit = num_images if split is None and seed is None else None
    loaded = load_records(data, replace(reading, limit=limit))
    if limit is not None and loaded.skipped and len(loaded.records) < num_images:
        # Images without a file or a caption count too; how many more there are is not known.
        loaded, limit = load_records(data, reading), None
    records: Sequence[CaptionRecord] = loaded.records
    if split is not None:
        records = select_split(records, split)
    chosen = _choose(records, number=num_images, seed=seed)
    write_picture(contact_sheet(chosen, columns=columns, cell_width=width, decode=decode), out)
    boxes = name_missing_glyphs(caption for record in chosen for caption in record.captions)
    if boxes:
        print_line(
            f"note: no installed font has {boxes}: boxes are drawn instead;"
            " install a font with them, such as Noto Sans CJK for Chinese"
        )
    # Where reading ended with the last image shown, there may be more.
    is_part = limit is not None and len(records) == limit
    images = format_count(len(records), "image")
    what = f"{images}, the first of the data" if is_part else f"{len(chosen)} of {images}"
    print_line(f"{what}: {out}")


@app.command()
@takes("reading", read_options)
def convert(
    data: Data,
    out: Annotated[Path, typer.Argument(help="Folder to write; created if absent.")],
    *,
    to: Annotated[
        Literal["jsonl", "csv", "coco", "imagefolder", "sidecar", "webdataset", "parquet"],
        typer.Option(
            help="Format to write: jsonl, csv, coco, imagefolder, sidecar, webdataset or parquet."
        ),
    ] = "jsonl",
    images: Annotated[
        Literal["copy", "link", "keep"],
        typer.Option(help="Copy images, hard-link them, or keep them where they are."),
    ] = "copy",
    limit: Limit = None,
    force: Force = False,
    reading: LoadOptions,
) -> None:
    """Write a data set in another format. Exits with 3 when images are skipped."""
    from captune.data import load_records, replace_skipped, write_dataset

    # The folder of a file too: its images may have the names of the converted ones.
    place = expand_home(data)
    check_outputs(out, inputs=[place, place.parent if place.is_file() else None], force=force)
    with lock_folder(out):
        loaded = load_records(data, replace(reading, limit=limit, keep_columns=True))
        again = f"{RUN_AGAIN} with --force"
        with stopping(lambda: f"{out} is incomplete: {again}"):
            try:
                written = write_dataset(
                    loaded.records, out, format=to, images=images, columns=loaded.columns
                )
            except OutputError as error:
                # Part of the new folder is there, which the same command refuses.
                fix = error.fix.replace(RUN_AGAIN, again)
                raise OutputError(error.what, where=error.where, fix=fix) from error
        skipped = (*loaded.skipped, *written)
        listing = out / "skipped_images.jsonl"
        replace_skipped(skipped, listing)
    _print_notes(loaded)
    for note in _note_losses(loaded, to=to, images=images):
        print_line(f"note: {note}")
    left = len(loaded.records) + len(loaded.skipped) - len(skipped)
    print_line(f"{format_count(left, 'image')} written to {out}")
    if skipped:
        print_line(f"{len(skipped)} skipped: {listing}")
        raise typer.Exit(FINISHED_WITH_FAILURES)


@app.command()
@takes("reading", read_options)
def split(
    data: Data,
    *,
    out: Annotated[Path, typer.Option(help="Folder for splits.json and splits/.")],
    train: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share used for training.")] = 0.8,
    val: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share used to pick the best checkpoint.")
    ] = 0.1,
    test: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share used for scoring.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw.")] = 42,
    by: Annotated[
        Literal["image", "group"], typer.Option(help="The unit that a split keeps together.")
    ] = "image",
    force: Force = False,
    reading: LoadOptions,
) -> None:
    """Draw train, val and test splits, or keep the data set's own, and save them."""
    from captune.data import assign_splits, load_records, save_splits
    from captune.errors import DataError

    if abs(train + val + test - 1.0) > 1e-6:
        raise DataError(
            f"--train, --val and --test must add up to 1, not {train + val + test:g}",
            fix="change one of them: --train 0.8 --val 0.1 --test 0.1 is the default",
        )
    with lock_folder(out):
        check_outputs(out / "splits.json", out / "splits", force=force)
        loaded = load_records(data, reading)
        records = assign_splits(
            loaded.records,
            fractions=(train, val, test),
            seed=seed,
            by=by,
            draw_rest=loaded.draws_rest,
        )
        given = {record.image_id: record.split for record in loaded.records}
        is_drawn = any(given[record.image_id] != record.split for record in records)
        save_splits(records, out, seed=seed if is_drawn else None, by=by)
    _print_notes(loaded)
    if not is_drawn:
        print_line("note: the data set's own splits are kept; --redraw draws new ones")
    for name in ("train", "val", "test"):
        chosen = [record for record in records if record.split == name]
        captions = sum(len(record.captions) for record in chosen)
        print_line(
            f"{name}: {format_count(len(chosen), 'image')}, {format_count(captions, 'caption')}"
        )
    print_line(f"written: {out / 'splits.json'}")


def _note_losses(loaded: LoadedData, *, to: str, images: str) -> list[str]:
    """Return notes on what the new data set loses, or needs to be read."""
    notes = []
    names = sorted({name for own in loaded.columns.values() for name in own})
    if to == "sidecar":
        lost = [*names, "ids", "groups"]
        notes.append(f"text files beside images hold captions only, without {', '.join(lost)}")
    elif to in ("csv", "parquet") and names:
        notes.append(f"columns are written as text: {', '.join(names)}")
    if loaded.format == "coco":
        notes.append("caption ids, `licenses` and `info` of COCO files are not written")
    if images == "keep":
        notes.append("the images stay where they are; read the new files with --allow-outside")
    return notes


@dataclass(frozen=True, slots=True)
class _Coder:
    """The functions of a tokenizer that a check needs."""

    count: Callable[[str], int]
    read_back: Callable[[Sequence[str]], list[ReadBack]]


def _load_coder(tokenizer: str) -> _Coder:
    from captune.models import caption_reader, load_tokenizer, token_counter

    loaded = load_tokenizer(tokenizer, where="--tokenizer", trust_remote_code=False)
    return _Coder(token_counter(loaded, lower_case=False), caption_reader(loaded, lower_case=False))


def _add_round_trip(
    findings: DataCheck,
    loaded: LoadedData,
    *,
    read_back: Callable[[Sequence[str]], list[ReadBack]],
) -> DataCheck:
    from captune.data import add_round_trip, measure_round_trip

    captions = [caption for record in loaded.records for caption in record.captions]
    return add_round_trip(findings, measure_round_trip(captions, read_back))


def _choose(
    records: Sequence[CaptionRecord], *, number: int, seed: int | None
) -> Sequence[CaptionRecord]:
    import random

    if seed is None:
        return records[:number]
    return random.Random(seed).sample(list(records), min(number, len(records)))


def _print_notes(loaded: LoadedData) -> None:
    for note in loaded.notes:
        print_line(f"note: {note}")


def _print_findings(findings: DataCheck) -> None:
    from rich.markup import escape

    console = open_console()
    say = console.print
    say(f"[bold]{escape(escape_terminal(findings.source))}[/bold]", soft_wrap=True)
    names = {"none": "without a split"}
    splits = ", ".join(f"{number:,} {names.get(s, s)}" for s, number in findings.splits.items())
    say(
        f"{format_count(findings.num_images, 'image')} ({splits}),"
        f" {format_count(findings.num_captions, 'caption')}"
    )
    unit = "characters" if findings.unspaced_script else "words"
    for name, stats in ((unit, findings.lengths), ("tokens", findings.tokens)):
        if stats is not None:
            say(
                f"{name} per caption: mean {stats.mean:.1f}, median {stats.median},"
                f" 95 % at most {stats.p95}, longest {stats.longest}"
            )
    if findings.widths:
        (low, middle, high), (bottom, centre, top) = findings.widths, findings.heights
        say(f"pixels: median {middle}x{centre}, widths {low}-{high}, heights {bottom}-{top}")
    for note in findings.notes:
        say(f"[dim]note: {escape(escape_terminal(note))}[/dim]", soft_wrap=True)
    for problem in findings.problems:
        colour = "red" if problem.severity == "error" else "yellow"
        say(
            f"[{colour}]{problem.severity}[/]: {escape(escape_terminal(problem.text))}",
            soft_wrap=True,
        )
        if problem.fix:
            say(f"  [dim]{escape(problem.fix)}[/dim]", soft_wrap=True)
    for image in (*findings.skipped, *findings.unreadable)[:_MAX_LISTED]:
        name = escape_terminal(image.file or image.image_id)
        say(f"  {image.reason}: {escape(name)}", soft_wrap=True)
    more = len(findings.skipped) + len(findings.unreadable) - _MAX_LISTED
    if more > 0:
        say(f"  ... and {more:,} more: --json lists them")
    if not findings.problems:
        say("[green]no problems found[/green]")
