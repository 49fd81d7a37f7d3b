"""Recipes: every setting of a run, typed and checked before any work.

Names are imported on first use: captioning needs the decoding settings only, and building the types
of all settings takes a tenth of a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from captune.lazy_names import import_on_use

if TYPE_CHECKING:
    from captune.recipe.changes import setting_changes
    from captune.recipe.decoding_defaults import (
        BEAM_SETTINGS,
        SAMPLING_SETTINGS,
        fill_decoding,
    )
    from captune.recipe.few_steps import epochs_for_new_weights
    from captune.recipe.generate import GenerateConfig
    from captune.recipe.parse import load_recipe, parse_recipe, recipe_path
    from captune.recipe.publish import base_models, hide_local_paths, hub_data_sets
    from captune.recipe.schema import (
        DataConfig,
        EvaluateConfig,
        ModelConfig,
        NewDecoderConfig,
        Recipe,
        TokenizerConfig,
        TrainConfig,
    )
    from captune.recipe.schema_words import plain_words
    from captune.recipe.shipped import shipped_path, shipped_recipes
    from captune.recipe.value_types import SplitFractions, View
    from captune.recipe.write import (
        dump_changed,
        dump_recipe,
        flat_settings,
        is_dump,
        save_recipe,
    )

__all__ = [
    "BEAM_SETTINGS",
    "SAMPLING_SETTINGS",
    "DataConfig",
    "EvaluateConfig",
    "GenerateConfig",
    "ModelConfig",
    "NewDecoderConfig",
    "Recipe",
    "SplitFractions",
    "TokenizerConfig",
    "TrainConfig",
    "View",
    "base_models",
    "dump_changed",
    "dump_recipe",
    "epochs_for_new_weights",
    "fill_decoding",
    "flat_settings",
    "hide_local_paths",
    "hub_data_sets",
    "is_dump",
    "load_recipe",
    "parse_recipe",
    "plain_words",
    "recipe_path",
    "save_recipe",
    "setting_changes",
    "shipped_path",
    "shipped_recipes",
]

_MODULES = {
    "changes": ("setting_changes",),
    "decoding_defaults": ("BEAM_SETTINGS", "SAMPLING_SETTINGS", "fill_decoding"),
    "few_steps": ("epochs_for_new_weights",),
    "generate": ("GenerateConfig",),
    "parse": ("load_recipe", "parse_recipe", "recipe_path"),
    "publish": ("base_models", "hide_local_paths", "hub_data_sets"),
    "schema": (
        *("DataConfig", "EvaluateConfig", "ModelConfig", "NewDecoderConfig"),
        *("Recipe", "TokenizerConfig", "TrainConfig"),
    ),
    "schema_words": ("plain_words",),
    "shipped": ("shipped_path", "shipped_recipes"),
    "value_types": ("SplitFractions", "View"),
    "write": ("dump_changed", "dump_recipe", "flat_settings", "is_dump", "save_recipe"),
}

__getattr__ = import_on_use(
    __name__,
    {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names},
)
