"""A small language with synonyms, irregular forms and paraphrases, as the data files of a wheel.

With it, METEOR is tested without pycocoevalcap, against a slow, obvious twin that reads the same
rules from dictionaries.
"""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

FUNCTION_WORDS = ["a", "the", "of", "on", "is"]
PREFIXES = ["Mr", "mr", "St", "v"]
SYNSETS = {
    "dog": [1],
    "hound": [1, 2],
    "cat": [3],
    "kitty": [3],
    "run": [4],
    "sprint": [4],
    "child": [5],
    "kid": [5],
    "ride": [6],
    "big": [7],
    "large": [7],
    "dogs": [8],
    "as": [9],
    "a": [9],
}
IRREGULAR = {"ride": ["rode", "ridden"], "child": ["children"]}
PARAPHRASES = [
    ("a big", "large"),
    ("big", "huge"),
    ("big", "large"),
    ("dog is", "dog on a"),
    ("in front of", "before"),
    ("large", "a big"),
    ("large", "big"),
    ("of the", "'s"),
    ("on", "on top of"),
    ("on", "upon"),
    ("on a", "on the"),
    ("on top of", "on"),
    ("on top of the", "on a"),
    ("run", "runs on"),
    ("the big dog", "hound"),
    ("the cat", "cat"),
]
WORDS = sorted(
    {
        *FUNCTION_WORDS,
        *SYNSETS,
        *(form for forms in IRREGULAR.values() for form in forms),
        *("runs", "running", "cats", "riding", "kids", "huge", "top", "upon", "in", "front"),
        *("before", "tree", "trees", "1n", "30"),
    }
)


def write_wheel(folder: Path) -> Path:
    """Write a `pycocoevalcap` package folder with METEOR's data files only."""
    package = folder / "pycocoevalcap"
    meteor = package / "meteor"
    (meteor / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    rules = "".join(f"0.5\n{source}\n{target}\n" for source, target in PARAPHRASES)
    with gzip.open(meteor / "data" / "paraphrase-en.gz", "wt", encoding="utf-8") as file:
        file.write(rules)
    synsets = "".join(f"{word}\n{' '.join(map(str, ids))}\n" for word, ids in SYNSETS.items())
    exceptions = "".join(f"{base}\n{' '.join(forms)}\n" for base, forms in IRREGULAR.items())
    with zipfile.ZipFile(meteor / "meteor-1.5.jar", "w") as jar:
        jar.writestr("synonym/english.synsets", synsets)
        jar.writestr("synonym/english.exceptions", exceptions)
        jar.writestr("function/english.words", "\n".join(FUNCTION_WORDS) + "\n")
        jar.writestr(
            "nonbreaking/english.prefixes",
            "# comment\n\n" + "\n".join(PREFIXES) + "\nNo #NUMERIC_ONLY#\n",
        )
    return package
