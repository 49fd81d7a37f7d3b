"""What `--dry-run` and `--preview` print."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from captune.suggest import format_bytes, format_count

if TYPE_CHECKING:
    from captune.bulk import RunPreview


def preview_lines(preview: RunPreview) -> Iterator[str]:
    """Yield the lines of a preview: each caption with its files, then the cost of an undo."""
    for one in preview.captions:
        if one.error is not None:
            # A caption that the image cannot hold goes into a file beside it.
            caption = f"  {one.caption}" if one.files else ""
            yield f"failed:{one.error.what}  {one.name}{caption}"
        else:
            yield f"{one.name}  {one.caption}"
        for path in one.files:
            yield f"  would write  {path}"
    done = [one for one in preview.captions if one.error is None or one.files]
    if done:
        yield from _collected_lines(preview)
    if any(one.files for one in done):
        size = sum(one.undo_bytes for one in done) / len(done)
        yield (
            f"nothing was written; to undo such a run, about {format_bytes(size)} per image are"
            f" kept: {format_bytes(size * 1_000_000)} per million images"
        )
    elif preview.captions:
        yield "nothing was written"
    else:
        skipped = format_count(preview.outcome.num_skipped, "image has", plural="images have")
        yield f"no image needs a caption: {skipped} one already"


def dry_run_lines(preview: RunPreview) -> Iterator[str]:
    """Yield the lines of a dry run: counts, then the failures that are already known."""
    outcome = preview.outcome
    yield (
        f"{format_count(outcome.num_found, 'image')} found: {preview.num_waiting} to caption,"
        f" {outcome.num_skipped} with a caption, {outcome.num_failed} that cannot have one"
    )
    if preview.num_known:
        known = format_count(preview.num_known, "caption is", plural="captions are")
        yield f"{known} already known: no model is needed for these"
    if preview.num_new or preview.num_replaced:
        created = format_count(preview.num_new, "file")
        yield f"{created} would be created, {preview.num_replaced} changed"
    if preview.num_waiting:
        yield from _collected_lines(preview)
    for name, error in outcome.failures:
        yield f"  failed:{error.what}  {name}"


def _collected_lines(preview: RunPreview) -> Iterator[str]:
    for path in preview.collected:
        yield f"all captions would go to {path}"
