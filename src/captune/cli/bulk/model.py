"""The model of `captune caption`, loaded when the first image needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captune.errors import RecipeError

if TYPE_CHECKING:
    from captune.bulk import RunEngine, StreamCaptioner
    from captune.inference import RunRequest

_FEW = 16
"""Maximum number of images for which a model is loaded early: before it is known whether they have
captions already, and in this process."""


@dataclass(frozen=True, slots=True)
class CommandModel:
    """A model as the flags name it.

    Attributes:
        model: Folder or hub id.
        backend: What runs it.
        device: Device, or `auto`.
        precision: Precision, or `auto`.
        revision: Hub revision; `None`: the newest.
        engine: Where it runs: on this machine or on a Ray cluster; `None`: not decided yet.
        early: The model, being loaded in the background; `None`: it is loaded when needed.
    """

    model: str
    backend: Any
    device: str
    precision: Any
    revision: str | None
    engine: RunEngine | None = None
    early: Future[StreamCaptioner] | None = None

    def load_early(self, inputs: Sequence[str]) -> CommandModel:
        """Return this model, being loaded by a thread if it is exported and the images are few.

        The imports of this command take as long as compiling a small model, which needs no
        interpreter. The thread ends before the process does.

        Args:
            inputs: The images as the command names them.
        """
        from captune.data import IMAGE_SUFFIXES
        from captune.hub import EXPORT_FILE

        paths = [Path(name) for name in inputs]
        is_few = 0 < len(paths) <= _FEW and all(
            path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() for path in paths
        )
        if not is_few or not (Path(self.model).expanduser() / EXPORT_FILE).is_file():
            return self
        pool = ThreadPoolExecutor(1, "captune-model")
        early = pool.submit(self._load_here, len(paths))
        pool.shutdown(wait=False)
        return replace(self, early=early)

    def on_engine(self, engine: RunEngine) -> CommandModel:
        """Return this model, to be run by an engine.

        Raises:
            CaptuneError: See `RunEngine.check`.
        """
        engine.check()
        return replace(self, engine=engine)

    def made_by(self) -> Mapping[str, object]:
        """Return what identifies the model."""
        from captune.inference import digest_model

        digest = digest_model(self.model)
        return {"model": self.model, "revision": self.revision, "digest": digest}

    def load(self, num_images: int, *, was_killed: bool = False) -> StreamCaptioner:
        """Load the model; see `open_model`."""
        from captune.bulk import RunEngine, open_model

        try:
            if self.early is not None and not was_killed:
                return self.early.result()
            request = self._request(num_images)
            return open_model(request, was_killed=was_killed, engine=self.engine or RunEngine())
        except RecipeError as error:
            # Recipes share this check, so it names their keys.
            where = error.where.replace("train.", "--")
            raise RecipeError(error.what, where=where, fix=error.fix) from error

    def _load_here(self, num_images: int) -> StreamCaptioner:
        from captune.workers import load_here

        return load_here(self._request(num_images))

    def _request(self, num_images: int) -> RunRequest:
        from captune.inference import RunRequest

        return RunRequest(
            self.model, self.backend, num_images, self.device, self.precision, self.revision
        )
