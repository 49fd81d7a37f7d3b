"""The contents of an exported folder: export.json, two graphs and a tokenizer.

`captune export` writes it. Everything that decoding needs besides the graphs is in export.json, so
that no file of transformers has to be read without transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from captune.errors import ModelError
from captune.hub import EXPORT_FILE
from captune.inference.exported.image_levels import ImageRecipe, check_whole
from captune.recipe import GenerateConfig
from captune.storage import expand_home, read_json_object

TOKENIZER_FILE = "tokenizer.json"
EXPORT_SCHEMA = 1

ExportFormat = Literal["openvino", "onnx"]
GRAPH_FILES: Mapping[ExportFormat, tuple[str, str]] = {
    # The graph of the vision side, and the graph of one text step.
    "openvino": ("vision.xml", "text_step.xml"),
    "onnx": ("vision.onnx", "text_step.onnx"),
}
MIN_JUDGED = 50
"""Photographs that a share of equal captions must come from before `auto` follows it: a precision
that changes 8 % of the captions changes none of 20 in every fifth export."""

_MAX_ID = 2**24
"""Larger than any vocabulary, number of positions or width."""

EXPORT_AGAIN = "export the model again: captune export MODEL OUT --to openvino"
"""The fix of damaged files of an exported folder."""


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """The contents of export.json that captioning needs.

    Attributes:
        folder: The folder.
        format: Format of the graphs, which decides the runtime.
        prefix_ids: Tokens at the start of every caption, which are not generated.
        eos_token_id: Token that ends a caption.
        max_positions: Maximum number of tokens per caption, prefix and end token included.
        suppressed_ids: Tokens that are never generated.
        decoding: The model's own decoding settings, fields of `GenerateConfig`.
        width: D, width of the text side.
        image: Steps from an image to pixels.
        cleans_up: Whether spaces before punctuation are removed from decoded text.
        equal_share: Share, 0..1, of the images given to the export whose caption in fp32 equals
            that of the original model; `None`: not measured, or on fewer than `MIN_JUDGED`.
        exact_in_bf16: The same with both sides in bf16.
        exact_with_bf16_vision: The same with vision in bf16 and text in fp32.
        keeps_captions_in_bf16_vision: Whether the vision side is of a kind whose captions do not
            change when it is computed in bf16.
    """

    folder: Path
    format: ExportFormat
    prefix_ids: tuple[int, ...]
    eos_token_id: int
    max_positions: int
    suppressed_ids: tuple[int, ...]
    decoding: Mapping[str, Any]
    width: int
    image: ImageRecipe
    cleans_up: bool
    equal_share: float | None = None
    exact_in_bf16: float | None = None
    exact_with_bf16_vision: float | None = None
    keeps_captions_in_bf16_vision: bool = False


def find_exported(source: str | Path) -> Path | None:
    """Return the folder if `source` is an exported model, else `None`."""
    folder = expand_home(source)
    return folder if (folder / EXPORT_FILE).is_file() else None


def read_exported(folder: Path) -> ExportedModel:
    """Read export.json and check that the files it needs exist.

    Raises:
        ModelError: export.json is damaged or has another schema, or a file is missing.
    """
    path = folder / EXPORT_FILE
    content = read_json_object(path, fix=EXPORT_AGAIN)
    if content.get("schema") != EXPORT_SCHEMA:
        raise ModelError(
            f"schema {content.get('schema')!r} is not supported, only {EXPORT_SCHEMA}",
            where=str(path),
            fix="use the version of captune that wrote it, or " + EXPORT_AGAIN,
        )
    try:
        model = _from_json(folder, content)
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
        raise ModelError(
            f"not a complete export: {type(error).__name__} {error}",
            where=str(path),
            fix=EXPORT_AGAIN,
        ) from error
    for name in (*GRAPH_FILES[model.format], TOKENIZER_FILE):
        if not (folder / name).is_file():
            raise ModelError(f"{name} is missing", where=str(folder), fix=EXPORT_AGAIN)
    return model


def check_sizes(
    model: ExportedModel, *, pixels: Sequence[int], vocabulary: int, width: int
) -> None:
    """Check that export.json agrees with the graphs: a runtime takes other ids without an error.

    Args:
        model: Contents of export.json.
        pixels: (C, H, W) of an image in the vision graph.
        vocabulary: Number of tokens in the text graph.
        width: Width of the text graph.

    Raises:
        ModelError: It does not; the key and the range are named.
    """
    last = vocabulary - 1
    try:
        for key in ("prefix_ids", "suppressed_ids"):
            for value in getattr(model, key):
                check_whole(value, key, low=0, high=last)
        check_whole(model.eos_token_id, "eos_token_id", low=0, high=last)
        if model.width != width:
            raise ValueError(f"width: {model.width} is not that of the text graph, {width}")
        found = model.image(Image.new("RGB", (64, 48))).shape
        if list(found) != list(pixels):
            raise ValueError(f"image: gives pixels of {found}, but the graph takes {pixels}")
    except ValueError as error:
        raise ModelError(
            f"export.json does not fit its graphs: {error}",
            where=str(model.folder / EXPORT_FILE),
            fix=EXPORT_AGAIN,
        ) from error


def _from_json(folder: Path, content: Mapping[str, Any]) -> ExportedModel:
    if content["to"] not in GRAPH_FILES:
        raise ValueError(f"to: {content['to']!r}")
    text = content["text"]
    parity = content.get("parity") or {}
    # Drawings get few different captions, so they prove nothing about photographs.
    is_proof = parity.get("images") == "given" and parity["num_images"] >= MIN_JUDGED
    found = parity if is_proof else {}
    return ExportedModel(
        folder=folder,
        format=content["to"],
        prefix_ids=_ids(text, "prefix_ids"),
        eos_token_id=check_whole(text["eos_token_id"], "eos_token_id", low=0, high=_MAX_ID),
        max_positions=check_whole(text["max_positions"], "max_positions", low=1, high=_MAX_ID),
        suppressed_ids=_ids(text, "suppressed_ids"),
        decoding=_decoding(text["decoding"]),
        width=check_whole(text["width"], "width", low=1, high=_MAX_ID),
        image=ImageRecipe.from_json(content["image"]),
        cleans_up=bool(text["cleans_up"]),
        equal_share=_share(found, "equal_share"),
        exact_in_bf16=_share(found, "bf16_equal_share"),
        exact_with_bf16_vision=_share(found, "bf16_vision_equal_share"),
        keeps_captions_in_bf16_vision=bool(content.get("keeps_captions_in_bf16_vision", False)),
    )


def _ids(text: Mapping[str, Any], key: str) -> tuple[int, ...]:
    return tuple(check_whole(value, key, low=0, high=_MAX_ID) for value in text[key])


def _decoding(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return decoding settings after a check of their names and values."""
    GenerateConfig.model_validate(settings)
    return dict(settings)


def _share(found: Mapping[str, Any], key: str) -> float | None:
    return None if found.get(key) is None else float(found[key])
