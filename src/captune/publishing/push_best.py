"""`train.push_to_hub`: push each new best model to the hub while training continues.

Whichever engine trains, a new best model replaces the folder by a rename. A thread watches the
folder, so a slow or failing upload costs training nothing.
"""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from captune.errors import CaptuneError
from captune.hub import PushedRepo, open_repo
from captune.progress import Say
from captune.publishing.push import push_model

_LOOK_EVERY = 1.0


class BestModelPusher:
    """Push the folder `model` whenever it was replaced, from entering the context to leaving it.

    Errors are reported and never raised: the run matters more than its copy.
    """

    def __init__(self, model: Path, repo: str, *, private: bool, say: Say) -> None:
        """Remember the present model, which is not pushed again.

        Args:
            model: The folder of the best model; it need not exist yet.
            repo: `owner/name`, or `name` for your own account.
            private: Whether the repository must be private.
            say: Called with each progress message, from a thread.
        """
        self._model, self._repo, self._private, self._say = model, repo, private, say
        self._opened: PushedRepo | None = None
        self._pushed = _identity(model)
        self._tried = self._pushed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="captune-push", daemon=True)

    def __enter__(self) -> Self:
        """Open the repository first: an invalid token is reported before hours of work."""
        self._open()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wait for a running push, then push the newest model if it is not pushed yet.

        A run that was stopped does not wait: its next best model includes everything.
        """
        self._stop.set()
        if kind is not None:
            return
        self._thread.join()
        if _identity(self._model) not in (None, self._pushed):
            self._push()

    def _watch(self) -> None:
        while not self._stop.wait(_LOOK_EVERY):
            # After a failed push wait for the next model: the hub may be down for long.
            if _identity(self._model) not in (None, self._pushed, self._tried):
                self._push()

    def _open(self) -> PushedRepo | None:
        if self._opened is None:
            try:
                self._opened = open_repo(self._repo, private=self._private)
            except CaptuneError as error:
                self._report(error)
        return self._opened

    def _push(self) -> None:
        identity = self._tried = _identity(self._model)
        repo = self._open()
        if repo is None:
            return
        try:
            with tempfile.TemporaryDirectory(
                dir=self._model.parent, prefix=".captune-push-"
            ) as folder:
                copy = Path(folder) / "model"
                _link_files(self._model, copy)
                commit = push_model(copy, repo, message=f"Best model so far of {self._run_name}")
        except (CaptuneError, OSError) as error:
            self._report(error)
            return
        self._pushed = identity
        self._say(f"pushed the best model so far to {repo.url} as {commit[:12]}")

    @property
    def _run_name(self) -> str:
        return self._model.resolve().parent.name

    def _report(self, error: Exception) -> None:
        reason = error.what if isinstance(error, CaptuneError) else str(error)
        fix = error.fix if isinstance(error, CaptuneError) else ""
        self._say(f"not pushed, training continues: {reason}")
        if fix:
            self._say(f"  fix:   {fix}")


def _identity(model: Path) -> tuple[int, int] | None:
    """Return a value that changes whenever the folder is replaced; `None` if it is absent."""
    try:
        state = (model / "config.json").stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns


def _link_files(model: Path, copy: Path) -> None:
    """Copy by hard links, so that the copy survives when the next model replaces the folder."""
    for path in sorted(model.rglob("*")):
        target = copy / path.relative_to(model)
        if path.is_dir():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, target)
        except FileNotFoundError:
            raise
        except OSError:
            # Some file systems have no hard links.
            target.write_bytes(path.read_bytes())
