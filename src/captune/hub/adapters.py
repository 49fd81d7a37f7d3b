"""The error for a LoRA adapter given in place of a complete model, with the code to merge it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from captune.errors import ModelError

ADAPTER_FILE = "adapter_config.json"
"""The file that peft writes beside an adapter's weights."""


def read_adapter(folder: Path) -> Any:
    """Return the settings of a folder's adapter; empty if they cannot be read."""
    try:
        return json.loads((folder / ADAPTER_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}


def adapter_error(source: str, settings: Any, *, where: str) -> ModelError:
    """Return the error for an adapter given in place of a model.

    Args:
        source: Folder or hub id that was given as the model.
        settings: Content of its adapter_config.json.
        where: Recipe key or argument, for errors.
    """
    base = settings.get("base_model_name_or_path") if isinstance(settings, dict) else None
    of_what = f"the base model {base!r}" if base else "an unnamed base model"
    return ModelError(
        f"{source!r} is an adapter (LoRA) for {of_what}, not a complete model",
        where=where,
        fix="merge it into its base model (pip install peft), then give the folder MERGED:\n"
        "    from peft import PeftModel\n"
        "    from transformers import AutoModelForImageTextToText, AutoProcessor\n"
        f"    base = {base or 'BASE_MODEL'!r}\n"
        "    model = AutoModelForImageTextToText.from_pretrained(base)\n"
        f"    model = PeftModel.from_pretrained(model, {source!r}).merge_and_unload()\n"
        '    model.save_pretrained("MERGED")\n'
        '    AutoProcessor.from_pretrained(base).save_pretrained("MERGED")',
    )
