"""Names of models: local path or hub id, and its revision."""

from __future__ import annotations

from captune.errors import ModelError
from captune.storage import expand_home


def is_local(source: str) -> bool:
    """Return whether `source` is a local path rather than a hub id (`name`, `owner/name`)."""
    if expand_home(source).exists():
        return True
    # A revision may contain slashes: owner/name@refs/pr/1.
    name = source.partition("@refs/")[0]
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name


def split_revision(
    source: str, revision: str | None = None, *, where: str
) -> tuple[str, str | None]:
    """Return a hub id without its `@revision`, and the revision.

    Args:
        source: Folder, `owner/name` or `owner/name@REVISION`; paths are returned unchanged.
        revision: A revision given separately from the id.
        where: Recipe key or argument, for errors.

    Raises:
        ModelError: The id names one revision, and `revision` another.
    """
    name, at, pinned = source.partition("@")
    if not at or is_local(source):
        return source, revision
    if not pinned or (revision is not None and revision != pinned):
        raise ModelError(
            f"{source!r} and the revision {revision!r} contradict each other",
            where=where,
            fix=f"give only one of them: {name}@REVISION, or {name} and a separate revision",
        )
    return name, pinned
