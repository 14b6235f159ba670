"""Logistic regression of distributions, emotions' or votes', its penalty chosen by cross-validation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from redheart.regression.decomposition import Decomposition
from redheart.regression.soft_logistic import fit_soft_logistic

Array = NDArray[np.float64]
#: Penalties that are tried, the strongest first; scikit-learn's C is 1 / penalty.
PENALTIES: tuple[float, ...] = tuple(float(10**power) for power in np.arange(3.0, -2.01, -0.5))
FOLDS = 5


@dataclass(frozen=True)
class LinearShares:
    """``softmax(features @ weights + bias)``.

    Attributes:
        weights: ``(features, classes)``; bias: ``(classes,)``.
        penalty: what half the squared weights cost, beside the sum of the items' cross-entropies.
    """

    weights: Array
    bias: Array
    penalty: float

    def predict(self, features: Array) -> Array:
        """Shares ``(items, classes)``, rows that sum to 1."""
        from scipy.special import softmax

        shares: Array = softmax(features @ self.weights + self.bias, axis=1)
        return shares


def smoothed(shares: Array) -> Array:
    """The shares with one uniform observation spread over the items, as the constant predictor has one.

    Without it the bias of a class that nobody ever chose has no optimum.
    """
    count, classes = shares.shape
    spread: Array = (count * shares + 1 / classes) / (count + 1)
    return spread


def fit_shares(
    features: Array, shares: Array, *, seed: int = 0, check: Callable[[], None] = lambda: None
) -> LinearShares:
    """Fits the regression, its penalty chosen by the cross-entropy in 5-fold cross-validation on these items.

    Args:
        features: ``(items, features)``; shares: ``(items, classes)``, rows that sum to 1.
        check: called at every step of the solver; what it raises ends the fit.
    """
    from sklearn.model_selection import KFold

    shares = smoothed(shares)
    folds = []
    for _, left_out in KFold(FOLDS, shuffle=True, random_state=seed).split(features):
        folds.append(np.isin(np.arange(len(features)), left_out))
    parts = Decomposition.of(torch.from_numpy(features))
    prior_log = torch.from_numpy(np.log(shares.mean(axis=0)))
    found, _ = fit_soft_logistic(parts.coordinates, torch.from_numpy(shares), prior_log, PENALTIES, folds, check=check)
    weights, bias = parts.restore(found.weights, found.bias + found.prior_log)
    return LinearShares(weights.numpy(), bias.numpy(), found.penalty)
