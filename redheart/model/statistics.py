"""Statistics of the training split's targets, which the constant predictor uses: means and scales, prior distributions.

The model predicts relative to that predictor – standardised units for regressions, logits on top of the prior's logarithm for
distributions – so that 0 is what the constant predictor says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from redheart.tasks import TASK_BY_NAME, TASKS

#: Annotations are given in hundredths; a spread below two of them says that a training split is too small or constant
#: in this dimension, and dividing by it would let a single deviating item outweigh every other loss.
MIN_SCALE = 0.02
#: Observations of the uniform distribution that are added to the mean of the observed ones: no prior is 0.
PRIOR_STRENGTH = 1.0


@dataclass(frozen=True, slots=True)
class TaskStatistics:
    """One task: ``mean`` and ``scale`` per dimension (regressions), or ``prior`` (distributions).

    Attributes:
        coverage: share of the training situations that have a target.
        targets: how many the dimension that has most of them has. Both are of no use after training, and not stored.
    """

    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    prior: tuple[float, ...] = ()
    coverage: float = field(default=1.0, compare=False)
    targets: int = field(default=0, compare=False)


@dataclass(frozen=True)
class TargetStatistics:
    """The statistics of each task, by its name. Fitted on the training split and stored with the model.

    Attributes:
        training_split: those of the training split, where the model measures its targets by another's: it began with the
            weights of a model that was trained on other data. None: they are these.
    """

    tasks: Mapping[str, TaskStatistics]
    training_split: TargetStatistics | None = None

    def __getitem__(self, task: str) -> TaskStatistics:
        return self.tasks[task]

    @property
    def constant(self) -> TargetStatistics:
        """What the constant predictor knows: the targets of the training split, whatever the model measures by."""
        return self.training_split or self

    @staticmethod
    def neutral() -> TargetStatistics:
        """Knows nothing: uniform priors, mean 0.5, scale 1."""
        empty = {task.name: np.zeros((0, len(task.dimensions)), np.float32) for task in TASKS}
        return TargetStatistics.fit(empty, {name: values.astype(bool) for name, values in empty.items()})

    @staticmethod
    def fit(values: Mapping[str, NDArray[np.float32]], mask: Mapping[str, NDArray[np.bool_]]) -> TargetStatistics:
        """Statistics of the training split.

        Args:
            values: (items, dims) by task; other keys are ignored.
            mask: as ``values``, True = annotated.
        """
        return TargetStatistics(
            {
                task.name: _prior(values[task.name], mask[task.name])
                if task.is_distribution
                else _moments(values[task.name], mask[task.name])
                for task in TASKS
            }
        )

    def to_json(self) -> dict[str, dict[str, list[float]]]:
        return {
            name: {"prior": list(one.prior)}
            if TASK_BY_NAME[name].is_distribution
            else {"mean": list(one.mean), "scale": list(one.scale)}
            for name, one in self.tasks.items()
        }

    @staticmethod
    def from_json(
        data: Mapping[str, Mapping[str, Sequence[float]]],
        training_split: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
    ) -> TargetStatistics:
        """The inverse of ``to_json``.

        Args:
            training_split: that of its training split's statistics, where it has others.

        Raises:
            ValueError: a task is missing or has another number of dimensions than the table of tasks.
        """
        tasks: dict[str, TaskStatistics] = {}
        for task in TASKS:
            if task.name not in data:
                raise ValueError(f"statistics hold no task {task.name!r}: found {sorted(data)}")
            found = {field: tuple(float(x) for x in numbers) for field, numbers in data[task.name].items()}
            wanted = {"prior"} if task.is_distribution else {"mean", "scale"}
            if set(found) != wanted or any(len(numbers) != len(task.dimensions) for numbers in found.values()):
                raise ValueError(
                    f"statistics of {task.name!r}: wanted {sorted(wanted)} of {len(task.dimensions)} numbers"
                )
            tasks[task.name] = TaskStatistics(**{field: found[field] for field in wanted})  # type: ignore[arg-type]
        return TargetStatistics(tasks, TargetStatistics.from_json(training_split) if training_split else None)

    def standardise(self, task: str, target: Tensor) -> Tensor:
        """Natural units (batch, dims) -> units of the training split's spread around its mean."""
        one = self.tasks[task]
        return (target - _on_device(one.mean, target.device)) / _on_device(one.scale, target.device)

    def restore(self, task: str, standardised: Tensor) -> Tensor:
        """The inverse of ``standardise``."""
        one = self.tasks[task]
        return standardised * _on_device(one.scale, standardised.device) + _on_device(one.mean, standardised.device)


def natural_units(task: str, prediction: Tensor, statistics: TargetStatistics) -> Tensor:
    """What is served and scored: probabilities, or numbers clipped to 0..1. (batch, dims) float32."""
    prediction = prediction.float()
    if TASK_BY_NAME[task].is_distribution:
        return prediction.softmax(dim=-1)
    return statistics.restore(task, prediction).clamp(0.0, 1.0)


def _prior(values: NDArray[np.float32], mask: NDArray[np.bool_]) -> TaskStatistics:
    rows = values[mask.all(axis=1)].astype(np.float64)
    dims = values.shape[1]
    prior = (rows.sum(axis=0) + PRIOR_STRENGTH / dims) / (len(rows) + PRIOR_STRENGTH)
    return TaskStatistics(
        prior=tuple((prior / prior.sum()).tolist()), coverage=_coverage(mask), targets=_most_targets(mask)
    )


def _moments(values: NDArray[np.float32], mask: NDArray[np.bool_]) -> TaskStatistics:
    mean: list[float] = []
    scale: list[float] = []
    for dim in range(values.shape[1]):
        known = values[mask[:, dim], dim].astype(np.float64)
        mean.append(float(known.mean()) if len(known) else 0.5)
        scale.append(max(float(known.std()), MIN_SCALE) if len(known) else 1.0)
    return TaskStatistics(mean=tuple(mean), scale=tuple(scale), coverage=_coverage(mask), targets=_most_targets(mask))


def _coverage(mask: NDArray[np.bool_]) -> float:
    return int(mask.any(axis=1).sum()) / max(len(mask), 1)


def _most_targets(mask: NDArray[np.bool_]) -> int:
    return int(mask.sum(axis=0).max(initial=0))


@lru_cache(maxsize=256)
def _on_device(numbers: tuple[float, ...], device: torch.device) -> Tensor:
    # A training step would otherwise copy the same few numbers to the device again and again.
    return torch.tensor(numbers, dtype=torch.float32, device=device)
