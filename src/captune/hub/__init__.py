"""The Hugging Face hub and local folders: reading from them, pushing to it, and why it failed."""

from captune.hub.failures import HubFault, find_fault, hub_failures, nearest_cached
from captune.hub.loading import (
    check_model_folder,
    load_pretrained,
    quiet_transformers,
    require_weights,
)
from captune.hub.names import is_local, split_revision
from captune.hub.upload import PushedRepo, RepoFile, open_repo, push_files

__all__ = [
    "HubFault",
    "PushedRepo",
    "RepoFile",
    "check_model_folder",
    "find_fault",
    "hub_failures",
    "is_local",
    "load_pretrained",
    "nearest_cached",
    "open_repo",
    "push_files",
    "quiet_transformers",
    "require_weights",
    "split_revision",
]
