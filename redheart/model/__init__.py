"""The model: backbone, heads, analyzers, wrappers, phases, dsp, kalman, the whole of them, losses and presets."""

from redheart.model.batch import Batch
from redheart.model.linear_model import LinearModel, Model
from redheart.model.losses import Losses, compute_losses, valid_counts
from redheart.model.parameters import ParameterCount, count_model, count_parameters, meta_model
from redheart.model.presets import PRESETS, ModelDimensions, dimensions
from redheart.model.statistics import TargetStatistics, TaskStatistics, natural_units
from redheart.model.unified import Outputs, UnifiedModel, modules_of

__all__ = [
    "PRESETS",
    "Batch",
    "LinearModel",
    "Losses",
    "Model",
    "ModelDimensions",
    "Outputs",
    "ParameterCount",
    "TargetStatistics",
    "TaskStatistics",
    "UnifiedModel",
    "compute_losses",
    "count_model",
    "count_parameters",
    "dimensions",
    "meta_model",
    "modules_of",
    "natural_units",
    "valid_counts",
]
