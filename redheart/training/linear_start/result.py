"""The result of the search for the start: weights of each task's linear and radial path, and the radial centres."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from redheart.tasks import TASK_BY_NAME


@dataclass(frozen=True)
class PathStart:
    """One task: ``weight`` (dims, views), ``radial`` (dims, centres) and ``bias`` (dims,).

    Attributes:
        penalties: the relative penalty of each dimension that was fitted.
        radial_weight: what rbf_activations counted beside the views; 0 without centres.
    """

    weight: Tensor
    radial: Tensor
    bias: Tensor
    penalties: tuple[float, ...]
    radial_weight: float


@dataclass(frozen=True)
class Attempt:
    """A start, and the error that its penalties were chosen by."""

    start: PathStart
    error: float


@dataclass(frozen=True)
class LinearStart:
    """The starts by task, and the centres (centres, views) with the training stories' mean RBF activations (centres,) to them.

    Attributes:
        stories: the first so many centres are training stories and have a weight; what follows lies between them.
    """

    centres: Tensor
    mean: Tensor
    stories: int
    paths: Mapping[str, PathStart] = field(default_factory=dict)

    def __getitem__(self, task: str) -> PathStart:
        return self.paths[task]

    def __contains__(self, task: str) -> bool:
        return task in self.paths

    def shown(self, task: str) -> str:
        """Its name, and of how many of its dimensions a prediction was found where not of all: ``bentham (6/7)``."""
        found, dimensions = len(self.paths[task].penalties), len(self.paths[task].bias)
        return task if TASK_BY_NAME[task].is_distribution or found == dimensions else f"{task} ({found}/{dimensions})"
