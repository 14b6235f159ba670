"""Logistic regression of a task's distribution relative to the prior, its one penalty by cross-validation."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from redheart.regression.soft_logistic import fit_soft_logistic
from redheart.training.linear_start.feature_space import FeatureSpace
from redheart.training.linear_start.result import Attempt
from redheart.training.linear_start.ridge import PENALTIES
from redheart.training.linear_start.stopping import Stopping

#: Every other one for distributions, whose solution takes iterations.
DISTRIBUTION_PENALTIES = PENALTIES[::2]
FOLDS = 5
#: Held-out situations beyond which no further fold is asked for a penalty.
ENOUGH_HELD_OUT = 2000


def fit_distribution(
    space: FeatureSpace, rows: NDArray[np.int64], target: Tensor, prior_log: Tensor, stopping: Stopping
) -> Attempt:
    """Multinomial logistic regression on soft targets, the penalty chosen by 5-fold cross-validation.

    Args:
        rows: positions of the annotated situations.
        target: (situations, dims) float64, rows that sum to 1; prior_log: (dims,) logarithms of the prior.

    Raises:
        Interrupted: ``stopping`` said so.
    """
    stopping.within()
    found = space.of(rows)
    parts, shares = found.parts, target[found.rows]
    fold = np.random.default_rng(0).permutation(len(shares)) % FOLDS
    asked = min(FOLDS, math.ceil(ENOUGH_HELD_OUT * FOLDS / len(shares)))
    penalties = [penalty * parts.size for penalty in DISTRIBUTION_PENALTIES]
    fitted, error = fit_soft_logistic(
        parts.coordinates,
        shares,
        prior_log,
        penalties,
        [fold == held for held in range(asked)],
        check=stopping.within,
    )
    relative = DISTRIBUTION_PENALTIES[penalties.index(fitted.penalty)]
    weight, bias = parts.restore(fitted.weights, fitted.bias)
    return Attempt(space.start(weight.T, bias, (relative,)), error)
