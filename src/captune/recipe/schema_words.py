"""Descriptions of the values that a recipe key accepts, read from the schema.

They come from the JSON schema that pydantic builds for `Recipe`; a `Node` is a part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from captune.suggest import find_nearest

Key = tuple[str | int, ...]
"""Path of a setting: ("train", "epochs"); a number is an index in a list."""

Node = Mapping[str, Any]

# Names from other tools, which a search by similarity does not find.
_OTHER_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "accumulation": "global_batch_size",
        "batch_size": "micro_batch_size",
        "beam_size": "num_beams",
        "dataset": "path",
        "eval_steps": "validate_every",
        "fp16": "precision",
        "bf16": "precision",
        "gradient_accumulation_steps": "global_batch_size",
        "load_best_model_at_end": "best_metric",
        "logging_steps": "log_every",
        "lr": "learning_rate",
        "lr_scheduler_type": "schedule",
        "max_len": "max_new_tokens",
        "max_length": "max_new_tokens",
        "metric_for_best_model": "best_metric",
        "num_train_epochs": "epochs",
        "per_device_train_batch_size": "micro_batch_size",
        "save_steps": "save_every",
        "save_total_limit": "keep_checkpoints",
        "warmup_ratio": "warmup_fraction",
    }
)
_LARGE = 1024
_PHRASES = (
    ("Value error, ", ""),
    ("Input should be a valid integer(, .*)?", "must be a whole number"),
    ("Input should be a valid number(, .*)?", "must be a number"),
    ("Input should be a valid boolean(, .*)?", "must be true or false"),
    ("Input should be greater than or equal to", "must be at least"),
    ("Input should be less than or equal to", "must be at most"),
    ("Input should be", "must be"),
)
_OTHER_CHOICES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("dev", "eval", "valid", "validation"), "val"),
        **{"training": "train", "testing": "test", "float16": "fp16", "half": "fp16"},
        **{"bfloat16": "bf16", "float32": "fp32", "full": "fp32", "hf": "trainer"},
    }
)


def node_at(key: Key) -> Node | None:
    """Return the schema of one setting or section; `None` if there is no such key."""
    node: Node | None = _schema()
    for part in key:
        node = child(node, part)
    return node


def child(node: Node | None, part: str | int) -> Node | None:
    """Return the schema of a key or list index below `node`; `None` if it has none."""
    if node is None:
        return None
    if isinstance(part, int):
        found = _kind(node, "array").get("items")
    elif part in node.get("properties", {}):
        found = node["properties"][part]
    else:
        found = node.get("additionalProperties") or None
    return _resolved(found) if found else None


def accepts(node: Node | None, kind: str) -> bool:
    """Return whether a setting accepts `kind`, a JSON type: string, boolean, null, array, ..."""
    return node is not None and any(choice.get("type") == kind for choice in _choices(node))


def allowed(node: Node) -> str:
    """Describe the allowed values of a setting: `a whole number >= 1, or null`."""
    return ", or ".join(_describe(choice) for choice in _choices(node))


def section_keys(key: Key) -> tuple[str, ...]:
    """Return the names that the section or table at `key` may hold."""
    node = node_at(key)
    if node is None:
        return ()
    return tuple(node.get("properties", ()) or node.get("propertyNames", {}).get("enum", ()))


def nearest_key(key: Key) -> str | None:
    """Return the dotted key that a wrong one probably means, in this section, then in others."""
    *section, wrong = (str(part) for part in key)
    here = {name: ".".join([*section, name]) for name in section_keys(tuple(section))}
    elsewhere = {dotted.rsplit(".", 1)[-1]: dotted for dotted in _dotted(_schema(), ())}
    known = _OTHER_NAMES.get(wrong, wrong)
    if known in here:
        return here[known]
    near = find_nearest(wrong, here)
    if near is not None:
        return here[near]
    near = known if known in elsewhere else find_nearest(wrong, elsewhere)
    return elsewhere[near] if near is not None else None


@cache
def _schema() -> Node:
    # Describing an error needs no schema, and its types take a tenth of a second.
    from captune.recipe.schema import Recipe

    return Recipe.model_json_schema()


def _resolved(node: Node) -> Node:
    reference = node.get("$ref")
    if reference is None:
        return node
    target: Node = _schema()["$defs"][reference.rsplit("/", 1)[-1]]
    return target


def nearest_choice(node: Node | None, value: object) -> str | None:
    """Return the allowed word of a setting that `value` probably means."""
    choices = [word for choice in _choices(node or {}) for word in choice.get("enum", ())]
    known = _OTHER_CHOICES.get(str(value).lower())
    return known if known in choices else find_nearest(str(value), choices)


def plain_words(message: str) -> str:
    """Return an error text of pydantic in the words of captune's errors.

    A wrong choice gets the one that is probably meant.
    """
    for phrase, plain in _PHRASES:
        message = re.sub(phrase, plain, message)
    found = re.search(r"'([^']*)' is not one of ('.*')", message)
    if found is None:
        return message
    choices = re.findall(r"'([^']*)'", found[2])
    near = nearest_choice({"enum": choices}, found[1])
    return message.rstrip(".") + (f" (did you mean {near!r}?)" if near else "")


def _choices(node: Node) -> tuple[Node, ...]:
    return tuple(_resolved(choice) for choice in node.get("anyOf", (node,)))


def _kind(node: Node, kind: str) -> Node:
    return next((c for c in _choices(node) if c.get("type") == kind), {})


def _describe(node: Node) -> str:
    if "words" in node or "enum" in node:
        return str(node.get("words") or "one of: " + ", ".join(map(str, node["enum"])))
    kind = node.get("type")
    if kind in ("integer", "number"):
        return ("a whole number" if kind == "integer" else "a number") + _range(node)
    if kind == "array":
        of = allowed(_resolved(node["items"])).removeprefix("one of: ")
        some = "a list of one or more" if node.get("minItems") else "a list"
        return f"{some} of text" if of == "text" else f"{some} of: {of}"
    if kind == "object":
        return _describe_object(node)
    if "pattern" in node:
        return f"text that matches {node['pattern']}"
    return {"string": "text", "boolean": "true or false"}.get(str(kind), str(kind))


def _describe_object(node: Node) -> str:
    names = node.get("properties") or node.get("propertyNames", {}).get("enum", ())
    if not names and node.get("additionalProperties"):
        return f"names, each with {allowed(_resolved(node['additionalProperties']))}"
    return f"a section with some of: {', '.join(names)}"


def _range(node: Node) -> str:
    lower = _bound(node, ">=", "minimum") or _bound(node, ">", "exclusiveMinimum")
    # A bound that only protects the machine is named when it is exceeded.
    is_shown = node.get("maximum", 0) < _LARGE
    upper = (is_shown and _bound(node, "<=", "maximum")) or _bound(node, "<", "exclusiveMaximum")
    return "".join((lower, " and" if lower and upper else "", upper))


def _bound(node: Node, sign: str, name: str) -> str:
    return f" {sign} {node[name]:.12g}" if name in node else ""


def _dotted(node: Node, above: Key) -> Iterator[str]:
    """Yield the dotted key of every setting, without sections."""
    for name, below in node.get("properties", {}).items():
        resolved = _resolved(below)
        if "properties" in resolved:
            yield from _dotted(resolved, (*above, name))
        else:
            yield ".".join(str(part) for part in (*above, name))
