"""The wording of captions: clean a caption, put it into a template, add prefix and suffix.

Pure functions of text. Cleaning removes what captioners add by habit: BLIP's "arafed", "a picture
of", "there is", and phrases that a model repeats until it must stop.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from captune.bulk.phrases import cut_at_word, trim_boilerplate, trim_repeats
from captune.errors import RecipeError
from captune.net import is_url, url_path
from captune.suggest import did_you_mean, format_count
from captune.text_safety import clean_text

CleanStep = Literal["boilerplate", "repeat"]
CLEAN_STEPS: tuple[CleanStep, ...] = get_args(CleanStep)
"""What `--clean` without a value removes."""

_FIELDS = ("caption", "name", "folder")


@dataclass(frozen=True, slots=True)
class Wording:
    """How a model's caption is changed before it is written.

    Attributes:
        prefix: Text before it, used as it is: no space is added.
        suffix: Text after it.
        template: Text with `{caption}`, `{name}` (of the file, without its ending) and `{folder}`
            (that holds the file); `{{` writes a brace. `None`: the caption alone.
        max_chars: Maximum characters of the whole text; the caption is cut at a word's end, prefix
            and suffix stay. `None`: any length.
        clean: What is removed from the caption first.
    """

    prefix: str = ""
    suffix: str = ""
    template: str | None = None
    max_chars: int | None = None
    clean: tuple[CleanStep, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a template or a limit that cannot be used.

        Raises:
            RecipeError: A field of the template does not exist, it lacks `{caption}`, or the limit
                leaves no room for a caption.
        """
        if self.template is not None and "caption" not in _check_fields(self.template):
            raise RecipeError(
                f"the template {self.template!r} has no {{caption}}",
                where="--template",
                fix="put {caption} where the caption belongs",
            )
        fixed = len(self._wrap("", name="", folder=""))
        if self.max_chars is not None and self.max_chars <= fixed:
            around = f": prefix, suffix and template take {fixed}" if fixed else ""
            room = format_count(self.max_chars, "character leaves", plural="characters leave")
            raise RecipeError(
                f"{room} no room for a caption{around}",
                where="--max-chars",
                fix=f"use {fixed + 1} or more",
            )

    def change(self, caption: str, item_name: str) -> str:
        """Return the text to write for a caption.

        Args:
            caption: The model's caption; without text, the result is empty.
            item_name: Path, member of an archive or URL of its image, for `{name}` and `{folder}`.
        """
        if "boilerplate" in self.clean:
            caption = trim_boilerplate(caption)
        if "repeat" in self.clean:
            caption = trim_repeats(caption)
        if not caption.strip():
            return ""
        folder, name = _split_name(item_name)
        text = self._wrap(caption, name=name, folder=folder)
        if self.max_chars is None or len(text) <= self.max_chars:
            return text
        num_around = len(self._wrap("", name=name, folder=folder))
        copies = max(1, _count_captions(self.template))
        room = (self.max_chars - num_around) // copies
        if room > 0:
            return self._wrap(cut_at_word(caption, room), name=name, folder=folder)
        # A long file name fills the template: the whole text is cut instead.
        return cut_at_word(text, self.max_chars)

    def _wrap(self, caption: str, *, name: str, folder: str) -> str:
        values = {"caption": caption, "name": name, "folder": folder}
        if self.template is None:
            return f"{self.prefix}{caption}{self.suffix}"
        pieces = [
            literal + (values[field] if field is not None else "")
            for literal, field in _parse(self.template)
        ]
        return "".join([self.prefix, *pieces, self.suffix])


def read_clean_steps(text: str) -> tuple[CleanStep, ...]:
    """Return the steps that `--clean=boilerplate,repeat` names; all for an empty text.

    Raises:
        RecipeError: A step does not exist.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in CLEAN_STEPS:
            raise RecipeError(
                f"--clean cannot remove {word!r}{did_you_mean(word, CLEAN_STEPS)}",
                where="--clean",
                fix=f"use one or more of: {','.join(CLEAN_STEPS)}",
            )
    return tuple(step for step in CLEAN_STEPS if step in words or not words)


def _check_fields(template: str) -> Sequence[str]:
    """Return the fields of a template; only plain names are accepted, so none runs code."""
    found = []
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise RecipeError(
            f"the template {template!r} cannot be read: {error}",
            where="--template",
            fix="double a brace that belongs to the text: {{ or }}",
        ) from error
    for _, field, form, conversion in parts:
        if field is None:
            continue
        if field not in _FIELDS or form or conversion:
            shown = field + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
            raise RecipeError(
                f"the template has no field {{{shown}}}{did_you_mean(field, _FIELDS)}",
                where="--template",
                fix="use {caption}, {name} and {folder}; write {{ for a brace",
            )
        found.append(field)
    return found


def _parse(template: str) -> Iterator[tuple[str, str | None]]:
    for literal, field, _, _ in string.Formatter().parse(template):
        yield literal, field


def _count_captions(template: str | None) -> int:
    return 1 if template is None else [field for _, field in _parse(template)].count("caption")


def _split_name(item_name: str) -> tuple[str, str]:
    """Return the names of folder and file, without the ending, each on one line."""
    path = url_path(item_name) if is_url(item_name) else item_name
    parts = [part for part in path.replace("\\", "/").split("/") if part]
    name = parts[-1] if parts else ""
    stem = name.rpartition(".")[0] or name
    return clean_text(parts[-2] if len(parts) > 1 else ""), clean_text(stem)
