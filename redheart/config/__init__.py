"""Configuration: typed, frozen, from one YAML file and dotted overrides; what a run resolved to is stored with it."""

from redheart.config.load import load_config, load_settings, resolved_yaml
from redheart.config.resolution import Resolution, setting, with_settings
from redheart.config.schema import (
    MAX_SEGMENTS,
    Config,
    CrossoverConfig,
    DataConfig,
    EmbeddingConfig,
    ModelConfig,
    ReportConfig,
    SweepConfig,
    SweetSpotConfig,
    TrainingConfig,
)

__all__ = [
    "MAX_SEGMENTS",
    "Config",
    "CrossoverConfig",
    "DataConfig",
    "EmbeddingConfig",
    "ModelConfig",
    "ReportConfig",
    "Resolution",
    "SweepConfig",
    "SweetSpotConfig",
    "TrainingConfig",
    "load_config",
    "load_settings",
    "resolved_yaml",
    "setting",
    "with_settings",
]
