"""Match images that have different ids in predictions and references, by their file names.

captune's own predictions have paths (`photos/000000000139.jpg`); COCO's references have numbers
(139) and file names. A match counts only if it is one to one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote

from captune.suggest import format_count

_FINAL_NUMBER = re.compile(r"(?:^|[_-])0*(\d+)$")
Key = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class IdMatch:
    """Ids of predictions matched to ids of references.

    Attributes:
        ids: Id of a prediction -> id of the reference; equal ids are not included.
        by: The property that they share, such as `file name`; empty if nothing was matched.
    """

    ids: Mapping[str, str]
    by: str

    def describe(self) -> str:
        """Return the match in one sentence, with an example."""
        prediction, reference = next(iter(self.ids.items()))
        number = format_count(len(self.ids), "image id is", plural="image ids are")
        return (
            f"{number} matched to those of the references by {self.by},"
            f" such as {prediction!r} to {reference!r}"
        )


def match_image_ids(
    references: Iterable[str], predictions: Iterable[str], *, names: Mapping[str, str]
) -> IdMatch:
    """Match the ids that are not equal, by the first key that matches most of them.

    The keys are: the file name that the references give for an image, or its id, with folders; the
    name without folders; the name without its extension; the number at the end of the name.

    Args:
        references: Ids of the references.
        predictions: Ids of the predictions.
        names: Id of a reference -> file name, if the file of references gives one.
    """
    known, given = list(references), list(predictions)
    both = set(known) & set(given)
    free = {i: {i, names.get(i, i)} for i in known if i not in both}
    open_ids = [i for i in given if i not in both]
    best = IdMatch({}, "")
    for by, key in _KEYS.items():
        ids = _match_by(key, free, open_ids)
        if len(ids) > len(best.ids):
            best = IdMatch(ids, by)
    return best


def _match_by(
    key: Key, references: Mapping[str, set[str]], predictions: Iterable[str]
) -> dict[str, str]:
    """Return pairs with equal keys; none if a key of the predictions belongs to two images."""
    owners: dict[str, list[str]] = {}
    for image_id, called in references.items():
        for made in dict.fromkeys(filter(None, map(key, called))):
            owners.setdefault(made, []).append(image_id)
    keys = {image_id: key(image_id) for image_id in predictions}
    counts = Counter(made for made in keys.values() if made in owners)
    if any(n > 1 or len(owners[made]) > 1 for made, n in counts.items()):
        return {}
    pairs = {image_id: owners[made][0] for image_id, made in keys.items() if made in counts}
    return pairs if len(set(pairs.values())) == len(pairs) else {}


def _path_of(image_id: str) -> str:
    if image_id.lower().startswith(("http://", "https://")):
        # Not urlsplit, which refuses some texts.
        image_id = unquote(re.sub(r"[?#].*", "", image_id, flags=re.DOTALL))
    return str(PurePosixPath(image_id.replace("\\", "/")))


def _name_of(image_id: str) -> str:
    return PurePosixPath(_path_of(image_id)).name.lower()


def _stem_of(image_id: str) -> str:
    name = _name_of(image_id)
    stem, dot, ending = name.rpartition(".")
    # Only an extension is removed, not the rest of an id such as 2.1 or a name such as st. peter.
    return stem if dot and re.fullmatch("[a-z][a-z0-9]{1,4}", ending) else name


def _number_of(image_id: str) -> str:
    found = _FINAL_NUMBER.search(_stem_of(image_id))
    return found[1] if found else ""


_KEYS: Mapping[str, Key] = {
    "file name": _path_of,
    "file name without folders": _name_of,
    "file name without folders and extension": _stem_of,
    "the number at the end of the file name": _number_of,
}
