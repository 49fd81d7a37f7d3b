"""Push files to a repository on the hub, of a model or a Space: all of them in one commit, or none.

Large files are uploaded before the commit and kept by the hub, so that repeating an interrupted
push sends only what is missing. No local file is written or moved.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from captune.errors import OutputError
from captune.hub.failures import find_fault, hub_failures

RepoKind = Literal["model", "space"]

_WEIGHTS = re.compile(r"(model|pytorch_model)(-\d+-of-\d+)?\.(safetensors|bin)(\.index\.json)?")


@dataclass(frozen=True, slots=True)
class RepoFile:
    """A file to push to the hub.

    Attributes:
        path: Path in the repository, with slashes.
        content: A local file, or bytes.
    """

    path: str
    content: Path | bytes


@dataclass(frozen=True, slots=True)
class PushedRepo:
    """The repository that files are pushed to.

    Attributes:
        repo: Full id, `owner/name`.
        url: Address of its page.
        is_private: Whether only its owners can see it.
        kind: Whether it holds a model, or the app of a Space.
    """

    repo: str
    url: str
    is_private: bool
    kind: RepoKind = "model"


def open_repo(repo: str, *, private: bool, kind: RepoKind = "model") -> PushedRepo:
    """Open a repository for pushing; create it if it does not exist.

    Args:
        repo: `owner/name`, or `name` for the user's own account.
        private: Whether the repository must be private.
        kind: A new Space runs a Gradio app.

    Raises:
        OutputError: The token may not write to the repository, the hub does not answer, or the
            repository is public but must be private.
    """
    from huggingface_hub import HfApi

    api = HfApi(library_name="captune")
    try:
        url = api.create_repo(
            repo,
            private=private or None,
            exist_ok=True,
            repo_type=kind,
            space_sdk="gradio" if kind == "space" else None,
        )
        info = api.repo_info(url.repo_id, repo_type=kind)
    except hub_failures() as error:
        raise _explain(error, repo) from error
    found = PushedRepo(url.repo_id, str(url), bool(info.private), kind)
    if private and not found.is_private:
        raise OutputError(
            f"{found.repo} is already public: anyone could read the pushed files",
            fix=f"make it private at {found.url}/settings, or choose another name; to publish it,"
            " omit --private (train.push_private: false)",
        )
    return found


def push_files(
    repo: PushedRepo, files: Sequence[RepoFile], *, message: str, remove: Collection[str] = ()
) -> str:
    """Commit the files; delete weights in the repository that are not among them.

    Args:
        repo: Repository from `open_repo`.
        files: All files; unchanged ones are not sent.
        message: Message of the commit.
        remove: Other names to delete, unless they are among the files.

    Returns:
        The commit's hash.

    Raises:
        OutputError: Nothing was pushed; the repository is unchanged.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi(library_name="captune")
    new = {file.path for file in files}
    try:
        operations: list[Any] = [
            CommitOperationAdd(
                file.path, str(file.content) if isinstance(file.content, Path) else file.content
            )
            for file in files
        ]
        # transformers would load a single file of another model instead of the new shards.
        operations += [
            CommitOperationDelete(path)
            for path in api.list_repo_files(repo.repo, repo_type=repo.kind)
            if (_WEIGHTS.fullmatch(path) or path in remove) and path not in new
        ]
        commit = api.create_commit(
            repo.repo, operations, commit_message=message, repo_type=repo.kind
        )
    except hub_failures() as error:
        raise _explain(error, repo.repo) from error
    return str(commit.oid)


def _explain(error: Exception, repo: str) -> OutputError:
    fault = find_fault(error, repo, writing=True)
    again = "the local files are unchanged; run the same command to try again"
    if fault is None:
        reason = " ".join((str(error) or type(error).__name__).split())[:300]
        return OutputError(f"cannot push to {repo}: {reason}", fix=again)
    return OutputError(f"cannot push to {repo}: {fault.what}", fix=f"{fault.fix}; {again}")
