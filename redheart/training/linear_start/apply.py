"""The application of the start to a model, and its log lines."""

from __future__ import annotations

import time

import torch
from torch import nn

from redheart.batches.order import Indices
from redheart.batches.table import SituationTable
from redheart.messages import info
from redheart.model.modules.heads import LinearPath
from redheart.model.modules.radial_basis import RadialBasis, RadialPath
from redheart.model.statistics import TargetStatistics
from redheart.tasks import TASKS
from redheart.training.init_from import MIN_FOR_START
from redheart.training.linear_start.fit import fit_linear_start
from redheart.training.linear_start.result import LinearStart
from redheart.training.linear_start.stopping import NEVER, Stopping


def centres_of(model: nn.Module) -> int:
    """How many centres the model's radial basis functions have; 0 if it has none."""
    return sum(len(module.mean) for module in model.modules() if isinstance(module, RadialBasis))


def apply_linear_start(model: nn.Module, found: LinearStart) -> None:
    """Puts the centres into the model and the solutions into its heads' paths.

    Raises:
        ValueError: it was fitted for another number of centres.
    """
    if found.paths and len(found.mean) != centres_of(model):
        raise ValueError(f"a start with {len(found.mean)} centres for a model with {centres_of(model)}")
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, RadialBasis) and len(found.mean):
                module.centres.copy_(found.centres)
                module.mean.copy_(found.mean)
            elif isinstance(module, LinearPath | RadialPath):
                task = name.split(".")[1]
                if task in found and isinstance(module, LinearPath):
                    module.weight.copy_(found[task].weight)
                    module.bias.copy_(found[task].bias)
                elif task in found:
                    stories = slice(found.stories)  # the others keep a little weight, for a gradient
                    module.weight[:, stories].copy_(found[task].radial[:, stories])


def start_linear_paths(
    model: nn.Module, table: SituationTable, train: Indices, statistics: TargetStatistics, stopping: Stopping = NEVER
) -> None:
    """Fits and applies, and says so: what ``training.linear_start`` asks for.

    Args:
        train: positions of the training situations.

    Raises:
        Interrupted: ``stopping`` said so.
    """
    # Every process solves: the same numbers from the same data, and rank 0's are what the engine hands to all.
    info("training.solving", situations=len(train))
    started = time.monotonic()
    found = fit_linear_start(table, train, statistics, centres=centres_of(model), stopping=stopping)
    apply_linear_start(model, found)
    if found.paths:
        info("training.solved", seconds=time.monotonic() - started, tasks=", ".join(map(found.shown, found.paths)))
    if missing := [task.name for task in TASKS if task.name not in found and statistics[task.name].targets]:
        info("training.unsolved", fewest=MIN_FOR_START, tasks=", ".join(missing))
