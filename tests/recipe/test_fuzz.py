"""Broken recipes of every kind raise a RecipeError, never another error or a hang."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterable

from captune.errors import RecipeError
from captune.recipe import load_recipe, parse_recipe, shipped_path, shipped_recipes
from support.soak import FIRST_SEED, rounds, soak

_PIECES = (
    *("{", "}", "[", "]", ":", ": ", "- ", "\n", "\n  ", "'", '"', "#", "&a ", "*a", "!!str ", "|"),
    *(
        ">",
        "?",
        "%YAML 9",
        "---\n",
        "...",
        "\t",
        "\0",
        "\x85",
        "\u2028",
        "\u202e",
        "\ufeff",
        "\x1b",
    ),
    *('"\\ud800"', '"\\UFFFFFFFF"', "null", "~", "true", "1e999", "-0", ".nan", "9" * 5000, "0x"),
    *("0o9", "!!python/object:os.system", "<<: *a", "[" * 500, "{a: " * 300, "a" * 3000, "é", "🦊"),
)
_KEYS = ("seed", "name", "train.epochs", "train", "data.views", "data.filters.a", "generate", "a.b")


def broken_yaml(random_: random.Random, texts: list[str]) -> str:
    """Return a shipped recipe with some pieces removed and others inserted."""
    text = random_.choice(texts) if random_.random() < 0.8 else ""
    for _ in range(random_.randint(1, 6)):
        at = random_.randint(0, len(text))
        end = at + random_.choice((0, 0, 1, 5, 50))
        text = text[:at] + random_.choice(_PIECES) + text[end:]
    return text


def broken_override(random_: random.Random) -> str:
    """Return `key=value` with an odd key, an odd value, or both."""
    key = random_.choice((*_KEYS, "." * 9, "", "a." * 2000 + "b"))
    value = "".join(random_.choice(_PIECES) for _ in range(random_.randint(0, 4)))
    noise = "".join(random_.choices(string.printable, k=random_.randint(0, 8)))
    return f"{key}{random_.choice(('=', '', '==', ' = '))}{value}{noise}"


def escapes(read: Callable[[], object]) -> Exception | None:
    """Return the error that a reader raises, unless it is a RecipeError."""
    try:
        read()
    except RecipeError as error:
        str(error).encode("utf-8")
    except Exception as error:  # noqa: BLE001 - the test looks for every other error
        return error
    return None


def find_escapes(seed: int, numbers: Iterable[int]) -> list[tuple[str, str]]:
    """Return inputs that raise anything but a RecipeError, each with the error."""
    random_ = random.Random(seed)
    texts = [shipped_path(name).read_text(encoding="utf-8") for name in shipped_recipes()]
    found = []
    for _ in numbers:
        text, override = broken_yaml(random_, texts), broken_override(random_)
        for given, error in (
            (text, escapes(lambda text=text: parse_recipe(text))),
            (override, escapes(lambda o=override: load_recipe("demo", [o]))),
        ):
            if error is not None:
                found.append((given, repr(error)[:200]))
    return found


@soak
def test_broken_recipes_and_overrides_raise_a_recipe_error() -> None:
    assert find_escapes(seed=11 + FIRST_SEED, numbers=rounds(60, full=9000)) == []
