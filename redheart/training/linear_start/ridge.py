"""Ridge regression of a task's numbers, each dimension's penalty by its leave-one-out error."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from redheart.training.init_from import MIN_FOR_START
from redheart.training.linear_start.feature_space import FeatureSpace
from redheart.training.linear_start.result import Attempt
from redheart.training.linear_start.stopping import Stopping

#: Penalties, relative to the mean square length of views and RBF activations together; the larger the shorter the weights.
PENALTIES = tuple(float(x) for x in np.logspace(3.0, -3.0, 25))


def fit_numbers(space: FeatureSpace, target: Tensor, known: NDArray[np.bool_], stopping: Stopping) -> Attempt | None:
    """Ridge regression (Hastie et al., *ESL*, 2nd ed., §7.10); None where no dimension has enough annotated situations.

    Args:
        target: (situations, dims) float64, standardised; known: the same shape, True where annotated.

    Raises:
        Interrupted: ``stopping`` said so.
    """
    weight = torch.zeros(target.shape[1], space.width, dtype=torch.float64)
    bias = torch.zeros(target.shape[1], dtype=torch.float64)
    penalties: list[float] = []
    error = 0.0
    for columns, rows in _by_mask(known):
        if len(rows) < MIN_FOR_START:
            continue
        stopping.within()
        found = space.of(rows)
        parts = found.parts
        y = target[found.rows][:, columns]
        centre = y.mean(dim=0)
        projected = parts.left.T @ (y - centre)
        squared = parts.lengths.square()
        errors, solutions = [], []
        for penalty in PENALTIES:
            stopping.within()
            shrink = squared / (squared + penalty * parts.size)
            leverage = parts.left.square() @ shrink + 1 / len(y)
            left_out = (1 - leverage).clamp(min=1e-6)[:, None]
            residual = (y - centre - parts.left @ (shrink[:, None] * projected)) / left_out
            errors.append(residual.square().mean(dim=0))
            solutions.append((shrink / parts.lengths)[:, None] * projected)
        least, best = torch.stack(errors).min(dim=0)
        error += float(least.sum())
        for place, column in enumerate(columns):
            weight[column] = parts.axes @ solutions[int(best[place])][:, place]
            bias[column] = centre[place] - parts.mean @ weight[column]
            penalties.append(PENALTIES[int(best[place])])
    return Attempt(space.start(weight, bias, tuple(penalties)), error) if penalties else None


def _by_mask(known: NDArray[np.bool_]) -> Iterator[tuple[list[int], NDArray[np.int64]]]:
    """Dimensions that are annotated in the same situations, and those situations' positions."""
    patterns, which = np.unique(known, axis=1, return_inverse=True)
    for pattern in range(patterns.shape[1]):
        columns = np.flatnonzero(which.reshape(-1) == pattern).tolist()
        yield columns, np.flatnonzero(patterns[:, pattern])
