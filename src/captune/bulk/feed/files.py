"""Images that files, folders, globs and URLs name, as items."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from captune.bulk.items import Item, Unreadable
from captune.inference import UrlFetcher, UrlImage, UrlRules, find_images


def found_files(
    inputs: Sequence[str], *, follow_links: bool = False, url_rules: UrlRules | None = None
) -> Iterator[Item | Unreadable]:
    """Return the images that the inputs name; see `find_images`.

    Raises:
        DataError: An input does not exist, or there are no images.
    """
    files = find_images(inputs, follow_links=follow_links, url_rules=url_rules)

    def items() -> Iterator[Item | Unreadable]:
        for place, error in files.unreadable:
            yield Unreadable(str(place), error)
        for path in files.paths:
            try:
                state = path.stat()
            except OSError:
                yield Item(str(path), path, path)
            else:
                yield Item(str(path), path, path, state.st_size, state.st_mtime_ns)
        if url_rules is not None:
            fetcher = UrlFetcher(url_rules)
            for url in files.urls:
                yield Item(url, UrlImage(url, fetcher))

    return items()
