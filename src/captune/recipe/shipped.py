"""The recipes that come with captune: `captune run NAME`."""

from __future__ import annotations

import difflib
from pathlib import Path

from captune.errors import RecipeError

_FOLDER = Path(__file__).parent / "shipped"


def shipped_recipes() -> tuple[str, ...]:
    """Names of the shipped recipes, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def shipped_path(name: str) -> Path:
    """The file of a shipped recipe.

    Raises:
        RecipeError: No shipped recipe has that name.
    """
    names = shipped_recipes()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise RecipeError(
            f"unknown recipe {name!r}{hint}",
            fix=f"give a YAML file, or one of: {', '.join(names)}",
        )
    return _FOLDER / f"{name}.yaml"
