"""Runs bulk captioning in this process, with a stub captioner that is loaded on demand."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from captune.bulk import BulkResult, BulkSettings, SourceOptions, Surroundings, find_items, run_bulk
from captune.inference import LoadedCaptioner, digest_model
from support.bulk.stub_captioner import load_stub

_AROUND = Surroundings(command="captune caption")


@dataclass(slots=True)
class StubModel:
    """The model of a folder, and how often it was loaded.

    Attributes:
        folder: Written by `write_stub`.
        num_loads: Number of loads.
        counts: The numbers of images that it was loaded for.
    """

    folder: Path
    num_loads: int = 0
    counts: list[int] = field(default_factory=list)

    def made_by(self) -> Mapping[str, object]:
        """Return what identifies the model."""
        return {
            "model": str(self.folder),
            "revision": None,
            "digest": digest_model(str(self.folder)),
        }

    def load(self, num_images: int, *, was_killed: bool = False) -> LoadedCaptioner:
        """Return the stub."""
        self.num_loads += 1
        self.counts.append(num_images)
        return load_stub(self.folder)


def caption(
    model: Path | StubModel,
    *inputs: Path | str,
    around: Surroundings = _AROUND,
    **settings: Any,
) -> BulkResult:
    """Caption with a stub and return the result; settings are those of `BulkSettings`."""
    result = BulkResult()
    named = tuple(map(str, inputs))
    given = BulkSettings(**{"decode": "inline", **settings})
    run_bulk(
        StubModel(model) if isinstance(model, Path) else model,
        find_items(named, SourceOptions(follow_links=given.follow_links)),
        inputs=named,
        settings=given,
        result=result,
        surroundings=around,
    )
    return result


def screen_of(model: Path, *inputs: Path | str, **settings: Any) -> str:
    """Caption with a stub to the screen; return what it shows."""
    screen = io.BytesIO()
    named = tuple(map(str, inputs))
    run_bulk(
        StubModel(model),
        find_items(named),
        inputs=named,
        settings=BulkSettings(**{"decode": "inline", **settings}),
        result=BulkResult(),
        surroundings=Surroundings(screen=screen),
    )
    return screen.getvalue().decode("utf-8", "surrogateescape")
