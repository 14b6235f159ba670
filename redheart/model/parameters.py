"""The count of a model's parameters, by module, without allocating one."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from redheart.model.meta_device import meta_device
from redheart.model.presets import PRESETS, ModelDimensions, dimensions
from redheart.model.statistics import TargetStatistics
from redheart.model.unified import UnifiedModel, modules_of


@dataclass(frozen=True, slots=True)
class ParameterCount:
    """Trainable numbers in all, and by each of the 17 modules."""

    total: int
    by_module: dict[str, int]


def meta_model(dims: ModelDimensions, statistics: TargetStatistics | None = None) -> UnifiedModel:
    """The model with shapes but no numbers: nothing is allocated."""
    statistics = statistics or TargetStatistics.neutral()
    with meta_device():
        return UnifiedModel(dims, statistics)


def count_parameters(preset: str, d_embed: int = 384) -> ParameterCount:
    """Counts the parameters of a preset on the meta device.

    Raises:
        KeyError: there is no such preset.
    """
    if preset not in PRESETS:
        raise KeyError(f"preset {preset!r}: wanted one of {', '.join(PRESETS)}")
    return count_model(meta_model(dimensions(preset, d_embed=d_embed)))


def count_model(model: nn.Module) -> ParameterCount:
    """Counts the parameters of a model that is there."""
    by_module = {name: sum(p.numel() for p in module.parameters()) for name, module in modules_of(model).items()}
    return ParameterCount(sum(by_module.values()), by_module)
