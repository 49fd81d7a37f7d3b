"""English words with which mistakes in captions are found: colours, numbers, articles and others.

Other languages have no words here, so no mistakes are looked for in them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

COLOURS: Mapping[str, str] = {
    **{name: name for name in ("red", "blue", "green", "yellow", "orange", "purple", "pink")},
    **{name: name for name in ("black", "white", "brown", "turquoise", "beige", "tan", "maroon")},
    **{"gray": "grey", "grey": "grey", "golden": "gold", "gold": "gold", "violet": "purple"},
    **{"silver": "silver", "teal": "turquoise", "cyan": "turquoise", "magenta": "pink"},
    **{"blond": "blond", "blonde": "blond", "navy": "blue", "crimson": "red", "scarlet": "red"},
}
"""Colour words -> the name used for comparing them."""

NUMBERS: Mapping[str, int] = {
    **{"a": 1, "an": 1, "one": 1, "single": 1, "two": 2, "pair": 2, "couple": 2, "three": 3},
    **{"four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10},
    **{str(number): number for number in range(1, 11)},
}

NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

ARTICLES = frozenset({"a", "an", "the", "this", "that", "his", "her", "their", "its", "some"})

FUNCTION_WORDS = ARTICLES | frozenset(
    {
        *("and", "or", "but", "with", "without", "of", "in", "on", "at", "by", "to", "from", "for"),
        *("into", "onto", "over", "under", "above", "below", "near", "behind", "beside", "next"),
        *("between", "through", "across", "along", "against", "around", "down", "up", "off", "out"),
        *("while", "as", "is", "are", "was", "were", "be", "being", "has", "have", "who", "which"),
        *("where", "when", "there", "it", "they", "he", "she", "them", "him", "outside", "inside"),
        *("during", "towards", "toward", "past", "beneath", "underneath", "upon", "within"),
    }
)

NOT_THINGS = frozenset(
    {
        *("top", "bottom", "left", "right", "middle", "center", "centre", "side", "front", "back"),
        *("background", "foreground", "corner", "edge", "end", "group", "couple", "pair", "bunch"),
        *("lot", "row", "line", "set", "piece", "view", "image", "picture", "photo", "photograph"),
        *("scene", "area", "other", "another", "something", "someone", "day", "way", "time", "air"),
        *("order", "distance", "one", "each", "same", "few", "many", "several", "large", "small"),
        *("big", "little", "tall", "old", "young", "different", "place", "part", "kind", "type"),
    }
)
"""Words that stand where a thing would, but name a place, an amount or the picture itself."""

_WORDS = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")


def split_words(text: str) -> list[str]:
    """Return the lower-case words of a caption without punctuation."""
    return _WORDS.findall(text.lower())


def singular(word: str) -> str:
    """Return an English word without its plural ending, as far as rules go."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes", "zes")):
        return word[:-2]
    return word[:-1]


_IRREGULAR: Mapping[str, str] = {
    **{"men": "man", "women": "woman", "children": "child", "people": "person", "mice": "mouse"},
    **{"geese": "goose", "feet": "foot", "teeth": "tooth", "cacti": "cactus", "buses": "bus"},
    **{"leaves": "leaf", "knives": "knife", "wolves": "wolf", "shelves": "shelf", "loaves": "loaf"},
    **{"calves": "calf", "scarves": "scarf", "hooves": "hoof", "wives": "wife", "halves": "half"},
    **{"tomatoes": "tomato", "potatoes": "potato", "mangoes": "mango", "canoes": "canoe"},
    **{"cookies": "cookie", "movies": "movie", "brownies": "brownie", "hoodies": "hoodie"},
    # No plurals, or words without a singular that anyone uses.
    **{word: word for word in ("lens", "canvas", "clothes", "pants", "jeans", "shorts")},
    **{word: word for word in ("trousers", "scissors", "goggles", "overalls", "christmas")},
}
