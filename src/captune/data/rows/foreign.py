"""Records of other trainers and tools, as records with `image` and `caption`.

Chats of one image: LLaVA and ShareGPT (`conversations`), the `messages` of OpenAI, TRL, unsloth,
ms-swift and LLaMA-Factory, and a question with its `response` or `output`. And one JSON object
for all images, `{"a.jpg": "a dog"}` or, from sd-scripts, `{"a": {"caption": "a dog"}}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from captune.data.images import IMAGE_SUFFIXES
from captune.data.names.image_finder import usual_folders
from captune.data.rows.columns import find_captions

_CHATS = ("messages", "conversations")
_ANSWERS = ("response", "output")
_IMAGES = ("image", "images")
_AUTHORS = frozenset(("assistant", "gpt"))
_FIRST_KEY = re.compile(r'\s*\{\s*("(?:[^"\\]|\\.)*")\s*:\s*["\[{]')


def is_chat(record: Mapping[str, Any]) -> bool:
    """Return whether a record is a chat about images, instead of an image with captions."""
    if find_captions(list(record), None):
        return False
    if _find_turns(record) is not None:
        return True
    return any(k in record for k in _ANSWERS) and any(k in record for k in _IMAGES)


def flatten_chat(record: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return a chat as a record with the first answer as its caption.

    Returns:
        The record, and why it cannot be used; empty: it can.
    """
    turns = _find_turns(record) or []
    answers = [record[key] for key in _ANSWERS if isinstance(record.get(key), str)][:1]
    images: list[Any] = []
    for key in _IMAGES:
        value = record.get(key)
        images += value if isinstance(value, list) else [] if value is None else [value]
    for turn in turns if not answers else ():
        text, shown = _read_turn(turn)
        images += shown
        if isinstance(turn, Mapping) and turn.get("role", turn.get("from")) in _AUTHORS:
            answers.append(text)
    others = {key: value for key, value in record.items() if key not in (*_CHATS, *_IMAGES)}
    plain = {"image": images[0] if images else "", "caption": "".join(answers[:1]), **others}
    if len(images) != 1:
        return plain, f"a chat about {len(images)} images, not about one"
    if len(answers) > 1:
        return plain, f"a chat with {len(answers)} answers, not one caption"
    return plain, ""


def _find_turns(record: Mapping[str, Any]) -> list[Any] | None:
    return next((record[key] for key in _CHATS if isinstance(record.get(key), list)), None)


def _read_turn(turn: Any) -> tuple[str, list[Any]]:
    """Return the text of a turn, and the images in it."""
    content = turn.get("content", turn.get("value")) if isinstance(turn, Mapping) else None
    if isinstance(content, str):
        return content, []
    parts = [part for part in content or () if isinstance(part, Mapping)]
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    shown = [part.get("image", part.get("image_url")) for part in parts]
    # OpenAI's form: {"type": "image_url", "image_url": {"url": "a.jpg"}}.
    links = [link.get("url") if isinstance(link, Mapping) else link for link in shown]
    return "".join(texts), [link for link in links if link is not None]


def names_images(head: str, path: Path) -> bool:
    """Return whether a JSON file is one object whose keys name images.

    Args:
        head: Its first characters.
        path: The file; the first key has an image's ending, or an image beside it has that name.
    """
    found = _FIRST_KEY.match(head)
    if found is None:
        return False
    with suppress(OSError, ValueError):
        key = json.loads(found[1])
        if PurePosixPath(key).suffix.lower() in IMAGE_SUFFIXES:
            return True
        places = [folder / key for folder in usual_folders(path.parent)]
        return any(Path(f"{place}{end}").is_file() for place in places for end in IMAGE_SUFFIXES)
    return False


def iter_named(values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a record per key of an object whose keys name images."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield {**value, "image": name}
        else:
            yield {"image": name, "captions": value}
