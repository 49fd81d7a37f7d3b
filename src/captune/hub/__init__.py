"""The Hugging Face hub and local folders: loading models, pushing them, explaining failures."""

from captune.hub.adapters import ADAPTER_FILE, adapter_error
from captune.hub.card import (
    EXAMPLES_PLACE,
    PLACEHOLDER,
    PLOTS_PLACE,
    Task,
    choose_task,
    describe_use,
    needs_own_code,
)
from captune.hub.failures import (
    WITHOUT_HUB,
    HubFault,
    find_fault,
    hub_failures,
    nearest_cached,
    no_hub,
)
from captune.hub.json_files import name_file, read_json_file
from captune.hub.loading import (
    EXPORT_FILE,
    NamedErrors,
    check_model_folder,
    find_model,
    load_pretrained,
    model_folder,
    quiet_transformers,
    require_weights,
    weight_files,
)
from captune.hub.names import is_local, split_revision
from captune.hub.reach import why_unreachable
from captune.hub.upload import PushedRepo, RepoFile, open_repo, push_files

__all__ = [
    "ADAPTER_FILE",
    "EXAMPLES_PLACE",
    "EXPORT_FILE",
    "PLACEHOLDER",
    "PLOTS_PLACE",
    "WITHOUT_HUB",
    "HubFault",
    "NamedErrors",
    "PushedRepo",
    "RepoFile",
    "Task",
    "adapter_error",
    "check_model_folder",
    "choose_task",
    "describe_use",
    "find_fault",
    "find_model",
    "hub_failures",
    "is_local",
    "load_pretrained",
    "model_folder",
    "name_file",
    "nearest_cached",
    "needs_own_code",
    "no_hub",
    "open_repo",
    "push_files",
    "quiet_transformers",
    "read_json_file",
    "require_weights",
    "split_revision",
    "weight_files",
    "why_unreachable",
]
