"""`captune.caption_library`: bulk captioning from Python, with the settings of the command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, get_args

from captune.bulk.captioning import StreamCaptioner
from captune.bulk.feed.planner import FeedSettings, read_share
from captune.bulk.formats.interface import Existing
from captune.bulk.formats.text_files import SidecarName
from captune.bulk.run import BulkResult, Surroundings, run_bulk
from captune.bulk.settings import (
    BulkSettings,
    OutputName,
    choose_decode,
    ends_as_folder,
    read_output_names,
)
from captune.bulk.sources.find import SourceOptions, find_items
from captune.bulk.wording import CLEAN_STEPS, CleanStep, Wording
from captune.bulk.worker.open_model import EngineName, RunEngine, open_model
from captune.errors import ModelError, OutputError
from captune.inference import (
    DecodingOptions,
    LoadedCaptioner,
    RunRequest,
    UrlRules,
    decoding_config,
    digest_model,
)
from captune.suggest import did_you_mean


class LibraryOptions(TypedDict, total=False):
    """The options of `caption_library`, which correspond to flags of `captune caption`."""

    to: OutputName | Sequence[OutputName]
    out: str | Path
    existing: Existing
    prefix: str
    suffix: str
    template: str
    max_chars: int
    clean: Sequence[CleanStep]
    decoding: DecodingOptions
    sidecar_name: SidecarName
    batch_size: int
    decode: Literal["isolated", "inline"]
    allow_truncated: bool
    limit: int
    retry_failed: bool
    shard: str
    engine: EngineName
    actors: int
    follow: bool
    url_rules: UrlRules


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "existing": get_args(Existing),
    "sidecar_name": get_args(SidecarName),
    "engine": get_args(EngineName),
    "decode": ("isolated", "inline"),
    "clean": CLEAN_STEPS,
}
_COUNTS = ("max_chars", "batch_size", "limit", "actors")


@dataclass(frozen=True, slots=True)
class _PythonModel:
    model: str | LoadedCaptioner
    engine: RunEngine

    def made_by(self) -> Mapping[str, object]:
        if isinstance(self.model, LoadedCaptioner):
            # Its weights may have changed since it was loaded, so it has no digest.
            return {"model": self.model.describe(), "revision": None, "digest": None}
        return {"model": self.model, "revision": None, "digest": digest_model(self.model)}

    def load(self, num_images: int, *, was_killed: bool = False) -> StreamCaptioner:
        if isinstance(self.model, LoadedCaptioner):
            return self.model
        request = RunRequest(self.model, "auto", num_images, "auto", "auto")
        return open_model(request, was_killed=was_killed, engine=self.engine)


def caption_library(
    model: str | Path | LoadedCaptioner,
    inputs: str | Path | Sequence[str | Path],
    **options: Unpack[LibraryOptions],
) -> BulkResult:
    """Caption images and write the captions to files; the same call resumes a stopped run.

    Args:
        model: A model folder, a run's folder, a hub id, or a model that is loaded already.
        inputs: Files, folders, globs, tars, Parquet files, hub data sets, object storage and, with
            `url_rules`, URLs.
        **options: `to` and `out` (also `s3://`, `gs://`) choose where captions go; the others are
            those of `captune caption`, with `decoding` for its decoding flags. `None`: the default.

    Returns:
        Counts, failures, and the run id that `captune undo` accepts.

    Raises:
        OutputError: No output is chosen, or it cannot be written, holds captions of another model,
            or is held by another run.
        CaptuneError: An input does not exist, or the model cannot be loaded.
    """
    settings = _settings(options)
    if not settings.to and settings.out is None:
        raise OutputError("no output is chosen", fix='give to="txt", or out="captions.jsonl"')
    listed = [inputs] if isinstance(inputs, str | Path) else inputs
    named = tuple(str(one) for one in listed)
    sources = SourceOptions(follow_links=settings.follow_links, url_rules=settings.url_rules)
    engine = RunEngine(options.get("engine") or "local", options.get("actors"))
    engine.check()
    if engine.name == "ray" and isinstance(model, LoadedCaptioner):
        raise ModelError(
            "a loaded model is in this process, not on the Ray cluster",
            where="caption_library(engine='ray')",
            fix="give its folder or hub id",
        )
    result = BulkResult()
    run_bulk(
        _PythonModel(model if isinstance(model, LoadedCaptioner) else str(model), engine),
        find_items(named, sources),
        inputs=named,
        settings=settings,
        result=result,
        surroundings=Surroundings(command="captune.caption_library"),
    )
    return result


def _settings(options: LibraryOptions) -> BulkSettings:
    unknown = set(options) - set(LibraryOptions.__annotations__)
    if unknown:
        raise OutputError(
            f"caption_library has no option {sorted(unknown)[0]!r}",
            fix=f"use: {', '.join(LibraryOptions.__annotations__)}",
        )
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    _check_values(given)
    names = [field.name for field in fields(Wording)]
    words: dict[str, Any] = {name: given[name] for name in names if name in given}
    wording = Wording(**{**words, "clean": _as_tuple(given.get("clean", ()))})
    to: Any = given.get("to", ())
    out, shard = given.get("out"), given.get("shard")
    feed = FeedSettings(
        given.get("limit"),
        given.get("retry_failed", False),
        None if shard is None else read_share(shard),
        given.get("allow_truncated", False),
    )
    decode = choose_decode(
        given.get("decode", "isolated"), allow_truncated=given.get("allow_truncated", False)
    )
    same = ("existing", "batch_size", "url_rules")
    return BulkSettings(
        to=read_output_names([to] if isinstance(to, str) else to),
        out=None if out is None else Path(out),
        out_is_folder=isinstance(out, str) and ends_as_folder(out),
        wording=wording,
        decoding=decoding_config(given.get("decoding", {})),
        naming=given.get("sidecar_name", "stem"),
        decode=decode,
        feed=feed,
        follow_links=given.get("follow", False),
        **{name: given[name] for name in same if name in given},
    )


def _check_values(given: Mapping[str, Any]) -> None:
    """Check the values that the command line checks too; a misspelled one would have no effect.

    Raises:
        OutputError: Names the option, its value and the allowed ones.
    """
    for name, allowed in _CHOICES.items():
        for value in _as_tuple(given.get(name, ())):
            if value not in allowed:
                near = did_you_mean(value, allowed) if isinstance(value, str) else ""
                raise OutputError(
                    f"{name} is {value!r}{near}",
                    where=f"caption_library({name}=...)",
                    fix=f"use {' or '.join(map(repr, allowed))}",
                )
    for name in _COUNTS:
        count = given.get(name)
        is_count = isinstance(count, int) and not isinstance(count, bool) and count > 0
        if count is not None and not is_count:
            raise OutputError(
                f"{name} is {count!r}",
                where=f"caption_library({name}=...)",
                fix="give a whole number from 1",
            )


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)
