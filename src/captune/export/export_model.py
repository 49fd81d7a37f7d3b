"""`captune export`: convert, check, and only then put the folder in its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from captune import __version__
from captune.data import make_shapes, select_split, upright_rgb
from captune.data import open_decoder as open_images
from captune.errors import ImageError, ModelError, OutputError
from captune.export.convert import trace_examples, write_graphs
from captune.export.image_recipe import image_recipe
from captune.export.parity import (
    Parity,
    caption_records,
    compare_captions,
    require_parity,
    score_difference,
)
from captune.export.quantize import Pixels, quantize_graphs, require_nncf
from captune.hub import EXPORT_FILE, find_model
from captune.inference import (
    BF16,
    BF16_VISION,
    EXPORT_SCHEMA,
    FP32,
    GRAPH_FILES,
    MIN_JUDGED,
    TOKENIZER_FILE,
    ExportFormat,
    ImageCaptioner,
    ImageRecipe,
    SidePrecisions,
    digest_model,
    load,
    load_exported,
    require_runtime,
    runtime_computes_bf16,
)
from captune.models import Captioner, exact_enough, model_decoding, suppressed_tokens
from captune.progress import Say
from captune.recipe import GenerateConfig
from captune.records import CaptionRecord, Prediction
from captune.software import installed_version
from captune.storage import (
    STATE_FOLDER,
    refuse_existing,
    require_utf8,
    write_folder,
    write_json,
)

MAX_PARITY_IMAGES = 100
_MAX_CALIBRATION = 24
"""Photographs that set the ranges of int8; 64 take 2.5 times as long and keep no more captions."""
_SHAPES_SIDE = 256
_HALVED = {"bf16_equal_share": BF16, "bf16_vision_equal_share": BF16_VISION}
"""What else captions are compared in, by the key of the result."""

_VERSIONED = ("torch", "transformers", "openvino", "nncf", "onnxruntime", "onnx", "tokenizers")


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How a model is exported.

    Attributes:
        to: Format of the graphs.
        int8: Whether vision is computed, and text weights are stored, in 8 bits.
        min_equal: Share of captions that must equal the model's, 0..1.
        force: Whether an existing folder is replaced.
        num_checked: Images that captions are compared on, at most.
        revision: Hub branch, tag or commit; `None`: the newest.
    """

    to: ExportFormat
    int8: bool = False
    min_equal: float = 0.98
    force: bool = False
    num_checked: int = MAX_PARITY_IMAGES
    revision: str | None = None


def export_model(
    source: str,
    out: Path,
    *,
    options: ExportOptions,
    records: Sequence[CaptionRecord] = (),
    say: Say,
) -> dict[str, Any]:
    """Write an exported folder and return the contents of its export.json.

    Args:
        source: Folder, run's folder or hub id.
        out: The folder to write; it appears complete or not at all.
        options: Format and precision.
        records: Photographs for calibration and comparison; none: the built-in shapes.
        say: Called with each progress message.

    Raises:
        MissingExtraError: The runtime or nncf is not installed.
        ModelError: The model cannot be exported, or its captions change too much.
        OutputError: The folder cannot be written, or holds anything but an exported model that
            `force` replaces.
    """
    require_runtime(options.to, where="--to")
    if options.int8:
        require_nncf()
    _refuse_replacing(out, force=options.force)
    loaded = load(find_model(source), device="cpu", revision=options.revision, precision="fp32")
    if not isinstance(loaded, ImageCaptioner):
        raise ModelError(f"{source!r} is exported already", fix="give the model itself")
    checked, calibration = _share_out(records, options)
    job = _Job(source, loaded, options, checked, calibration, bool(records), say)
    written: dict[str, Any] = {}
    write_folder(out, lambda folder: written.update(job.write(folder)))
    return written


def _refuse_replacing(out: Path, *, force: bool) -> None:
    """Refuse to replace what exists, unless it is an exported model and `force` is set."""
    require_utf8(out)
    refuse_existing(out, force=force)
    is_other = out.is_dir() and not (out / EXPORT_FILE).is_file()
    if is_other and any(entry.name != STATE_FOLDER for entry in out.iterdir()):
        raise OutputError(
            f"{out} is not an exported model, and --force would delete what it holds",
            fix="choose another path, or delete the folder yourself",
        )


def _share_out(
    records: Sequence[CaptionRecord], options: ExportOptions
) -> tuple[list[CaptionRecord], list[CaptionRecord]]:
    """Return the images to compare on, and others for calibration where there are enough."""
    if not records:
        most = options.num_checked
        extra = _MAX_CALIBRATION if options.int8 else 0
        drawn = make_shapes(most + extra, image_size=_SHAPES_SIDE)
        return drawn[:most], drawn[most:]
    checked = _spread(_tested(records), options.num_checked)
    if not options.int8:
        return checked, []
    ids = {record.image_id for record in checked}
    others = [r for r in records if r.image_id not in ids and r.split != "test"]
    return checked, _spread(others or checked, _MAX_CALIBRATION)


def _spread(records: Sequence[CaptionRecord], most: int) -> list[CaptionRecord]:
    """Return at most so many records from all over a data set, which may be sorted by subject."""
    count = min(most, len(records))
    return [records[place * len(records) // count] for place in range(count)]


def _tested(records: Sequence[CaptionRecord]) -> list[CaptionRecord]:
    """Return the test split, or all records of a data set without one."""
    has_test = any(record.split == "test" for record in records)
    return list(select_split(records, "test") if has_test else records)


@dataclass(frozen=True, slots=True)
class _Job:
    """One export.

    Attributes:
        source: The model as the user named it.
        loaded: The model, fp32 on the CPU.
        options: Format and precision.
        checked: Images to compare captions on.
        calibration: Images whose values set the ranges of int8.
        are_given: Whether the images are the user's.
        say: Called with each progress message.
    """

    source: str
    loaded: ImageCaptioner
    options: ExportOptions
    checked: Sequence[CaptionRecord]
    calibration: Sequence[CaptionRecord]
    are_given: bool
    say: Say

    def write(self, folder: Path) -> dict[str, Any]:
        """Fill a folder, check it, and return the contents of its export.json."""
        captioner = self.loaded.captioner
        recipe = image_recipe(captioner)
        first = next(_read_pixels(self.checked, recipe), None)
        if first is None:
            raise _no_image()
        self.say(f"converting to {self.options.to}")
        width = _write_graphs(captioner, first, folder, kind=self.options.to)
        if self.options.int8:
            self._quantize(folder, recipe)
        _write_words(captioner, folder)
        facts = self._facts(folder, recipe, width)
        # Loading reads the file; the results of the check are added to it.
        write_json(folder / EXPORT_FILE, facts)
        facts |= self._check(folder)
        write_json(folder / EXPORT_FILE, facts)
        return facts

    def _quantize(self, folder: Path, recipe: ImageRecipe) -> None:
        pixels = list(_read_pixels(self.calibration, recipe))
        if not pixels:
            raise _no_image()
        self.say(f"quantizing to int8 with {len(pixels)} images")
        if self.calibration[0] in self.checked:
            self.say("note: with so few images, captions are compared on the same ones")
        quantize_graphs(folder, pixels, kind=self.options.to)

    def _facts(self, folder: Path, recipe: ImageRecipe, width: int) -> dict[str, Any]:
        captioner = self.loaded.captioner
        generation = captioner.model.generation_config
        sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
        versions = {name: installed_version(name) for name in _VERSIONED}
        return {
            "schema": EXPORT_SCHEMA,
            "to": self.options.to,
            "int8": self.options.int8,
            "source": self.source,
            "digest": digest_model(self.source),
            "family": captioner.model.config.model_type,
            "text": {
                "prefix_ids": list(captioner.prefix_ids()),
                "eos_token_id": captioner.eos_token_id,
                "max_positions": captioner.max_positions,
                "suppressed_ids": list(suppressed_tokens(generation)),
                "decoding": model_decoding(generation),
                "width": width,
                "cleans_up": _cleans_up(captioner.tokenizer),
            },
            "image": recipe.to_json(),
            "keeps_captions_in_bf16_vision": _keeps_captions(captioner),
            "sizes": {"files": sizes, "total_bytes": sum(sizes.values())},
            "versions": {"captune": __version__, **{k: v for k, v in versions.items() if v}},
        }

    def _check(self, folder: Path) -> dict[str, Any]:
        """Return parity and score difference; refuse an export that changes too much."""
        config = self.loaded.complete(GenerateConfig.model_validate({}))
        self.say(f"comparing captions on {len(self.checked)} images")
        expected = caption_records(self.loaded, self.checked, config=config)
        if not expected:
            raise _no_image()
        exported = self._caption(folder, config, FP32)
        parity = compare_captions(expected, exported)
        require_parity(parity, least=self.options.min_equal, is_int8=self.options.int8)
        content: dict[str, Any] = {
            **asdict(parity),
            "images": "given" if self.are_given else "built-in shapes",
            "decoding": config.model_dump(),
        }
        # Drawn shapes get few different captions, so they prove nothing about photographs in bf16.
        if self.are_given and self.options.to == "openvino" and runtime_computes_bf16():
            for key, precisions in _HALVED.items():
                halved = self._caption(folder, config, precisions)
                content[key] = compare_captions(expected, halved).equal_share
        _say_parity(parity, content, self.say)
        scores = None
        if self.are_given and any(record.captions for record in self.checked):
            scores = score_difference(
                self.checked, model=expected, exported=exported, config=config
            )
        return {"parity": content, "score_difference": scores}

    def _caption(
        self, folder: Path, config: GenerateConfig, precisions: SidePrecisions
    ) -> list[Prediction]:
        exported = load_exported(folder, device="cpu", precision=precisions)
        return caption_records(exported, self.checked, config=config)


def _say_parity(parity: Parity, content: dict[str, Any], say: Say) -> None:
    say(f"{parity.equal_share:.1%} of {parity.num_images} captions equal the model's")
    for key, precisions in _HALVED.items():
        if key in content:
            say(f"in {precisions.describe()}: {content[key]:.1%}")
    if content["images"] != "given":
        say("note: compared on generated pictures of shapes; give photographs with --data")
    elif parity.num_images < MIN_JUDGED:
        say(f"note: --precision auto follows such shares from {MIN_JUDGED} images on")


def _no_image() -> ModelError:
    return ModelError("no image can be read", where="--data", fix="captune data check DATA")


def _write_graphs(captioner: Captioner, pixels: Pixels, folder: Path, *, kind: ExportFormat) -> int:
    """Write both graphs and return D."""
    import torch

    examples = trace_examples(captioner, torch.from_numpy(pixels)[None])
    write_graphs(examples, folder, kind=kind)
    assert all((folder / name).is_file() for name in GRAPH_FILES[kind])
    return examples.width


def _keeps_captions(captioner: Captioner) -> bool:
    """Return whether captioning by torch, too, halves the vision side of such a model by itself."""
    import torch

    vision, _ = exact_enough(captioner, torch.bfloat16)
    return vision == torch.bfloat16


def _write_words(captioner: Captioner, folder: Path) -> None:
    """Write tokenizer.json.

    Raises:
        ModelError: The tokenizer has no such form.
    """
    backend = getattr(captioner.tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(
            f"the tokenizer {type(captioner.tokenizer).__name__} cannot be exported: it has no"
            " tokenizer.json",
            fix="save the model with a fast tokenizer",
        )
    backend.save(str(folder / TOKENIZER_FILE))


def _cleans_up(tokenizer: Any) -> bool:
    """Return whether decoding removes spaces before punctuation, as transformers decides it."""
    if not tokenizer.clean_up_tokenization_spaces:
        return False
    is_bpe = type(tokenizer.backend_tokenizer.model).__name__ == "BPE"
    forced = "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"
    return not is_bpe or bool(getattr(tokenizer, forced, False))


def _read_pixels(records: Sequence[CaptionRecord], recipe: ImageRecipe) -> Iterator[Pixels]:
    """Yield the model inputs of the images that can be read."""
    with open_images("inline") as decoder:
        for record in records:
            with suppress(ImageError):
                yield decoder.decode(record.image, lambda image: recipe(upright_rgb(image)))
