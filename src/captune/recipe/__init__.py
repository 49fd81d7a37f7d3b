"""Recipes: every setting of a run, typed and checked before any work."""

from captune.recipe.schema import (
    DataConfig,
    EvaluateConfig,
    GenerateConfig,
    ModelConfig,
    NewDecoderConfig,
    Recipe,
    SplitFractions,
    TokenizerConfig,
    TrainConfig,
)

__all__ = [
    "DataConfig",
    "EvaluateConfig",
    "GenerateConfig",
    "ModelConfig",
    "NewDecoderConfig",
    "Recipe",
    "SplitFractions",
    "TokenizerConfig",
    "TrainConfig",
]
