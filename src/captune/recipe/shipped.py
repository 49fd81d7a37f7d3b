"""The recipes that come with captune: `captune run NAME`."""

from __future__ import annotations

from pathlib import Path

from captune.errors import RecipeError
from captune.suggest import did_you_mean

_FOLDER = Path(__file__).parent / "shipped"


def shipped_recipes() -> tuple[str, ...]:
    """Return the names of the shipped recipes, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def shipped_path(name: str) -> Path:
    """Return the file of a shipped recipe.

    Raises:
        RecipeError: No shipped recipe has that name.
    """
    names = shipped_recipes()
    if name not in names:
        raise RecipeError(
            f"unknown recipe {name!r}{did_you_mean(name, names)}",
            fix=f"give a YAML file, or one of: {', '.join(names)}",
        )
    return _FOLDER / f"{name}.yaml"
