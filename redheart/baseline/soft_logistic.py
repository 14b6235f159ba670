"""Multinomial logistic regression whose targets are distributions: votes, or shares of emotions.

The same optimum as scikit-learn's ``LogisticRegression`` on each item repeated once a class, weighted by its share in
that class (a test holds it), in a fraction of the time, because no item is repeated and a path of penalties goes on from
the last one's weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
#: Penalties that are tried, the strongest first; scikit-learn's C is 1 / penalty.
PENALTIES: tuple[float, ...] = tuple(float(10**power) for power in np.arange(3.0, -2.01, -0.5))
FOLDS = 5
#: Weaker penalties cost more steps the weaker they are; after so many in a row that were worse no better one follows.
_PATIENCE = 2
_MAX_STEPS = 1000
#: Largest slope, of the mean over items, that an optimum may have: where penalties are compared, and in the end.
_ROUGH, _FINE = 1e-4, 1e-7


@dataclass(frozen=True)
class SoftLogistic:
    """``softmax(features @ weights + bias)``.

    Attributes:
        weights: ``(features, classes)``; bias: ``(classes,)``.
        penalty: what the squared weights cost, beside the sum of the items' cross-entropies.
    """

    weights: Array
    bias: Array
    penalty: float

    def predict(self, features: Array) -> Array:
        """Probabilities ``(items, classes)``."""
        return softmax(features @ self.weights + self.bias)


def softmax(scores: Array) -> Array:
    """Rows that sum to 1."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Array = powers / powers.sum(axis=1, keepdims=True)
    return shares


class _Path:
    """The optimum for one penalty after the other, each sought from where the last one was found."""

    def __init__(self, features: Array, shares: Array) -> None:
        self._features, self._shares = features, shares
        self._size = features.shape[1] * shares.shape[1]
        self._at = np.concatenate([np.zeros(self._size), np.log(shares.mean(axis=0))])

    def _objective(self, at: Array, penalty: float) -> tuple[float, Array]:
        features, shares = self._features, self._shares
        weights = at[: self._size].reshape(features.shape[1], -1)
        scores = features @ weights + at[self._size :]
        scores -= scores.max(axis=1, keepdims=True)
        logarithms = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        value = -(shares * logarithms).sum() + 0.5 * penalty * (weights * weights).sum()
        slope = np.exp(logarithms) - shares
        gradient = np.concatenate([(features.T @ slope + penalty * weights).ravel(), slope.sum(axis=0)])
        return float(value) / len(shares), gradient / len(shares)

    def optimum(self, penalty: float, slope: float) -> SoftLogistic:
        from scipy.optimize import minimize

        found = minimize(
            self._objective,
            self._at,
            args=(penalty,),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _MAX_STEPS, "gtol": slope, "ftol": 0.0},
        )
        self._at = found.x
        weights = found.x[: self._size].reshape(self._features.shape[1], -1)
        return SoftLogistic(weights, found.x[self._size :], penalty)


def smoothed(shares: Array) -> Array:
    """The shares with one uniform observation spread over the items, as the constant predictor has one.

    Without it the bias of a class that nobody ever chose has no optimum.
    """
    count, classes = shares.shape
    spread: Array = (count * shares + 1 / classes) / (count + 1)
    return spread


def fit_soft_logistic(features: Array, shares: Array, *, seed: int = 0) -> SoftLogistic:
    """Fits the regression, its penalty chosen by the cross-entropy in 5-fold cross-validation on these items.

    Args:
        features: ``(items, features)``; shares: ``(items, classes)``, rows that sum to 1.
    """
    from sklearn.model_selection import KFold

    shares = smoothed(shares)
    centre = features.mean(axis=0)
    rotated, back = _compact(features - centre)
    folds = [
        (_Path(rotated[kept], shares[kept]), rotated[left], shares[left])
        for kept, left in KFold(FOLDS, shuffle=True, random_state=seed).split(rotated)
    ]
    best, lowest, worse = PENALTIES[0], np.inf, 0
    for penalty in PENALTIES:
        found = sum(_cross_entropy(path.optimum(penalty, _ROUGH).predict(left), wanted) for path, left, wanted in folds)
        if found < lowest:
            best, lowest, worse = penalty, found, 0
        else:
            worse += 1
            if worse == _PATIENCE:
                break
    fitted = _Path(rotated, shares).optimum(best, _FINE)
    weights = back @ fitted.weights
    return SoftLogistic(weights, fitted.bias - centre @ weights, best)


def _cross_entropy(predicted: Array, shares: Array) -> float:
    return float(-(shares * np.log(np.clip(predicted, 1e-12, 1))).sum())


def _compact(features: Array) -> tuple[Array, Array]:
    """Features turned into the space that the items span, and the way back for weights: ``features == turned @ back.T``.

    A ridge penalty does not see a rotation, and a few hundred items span less than 1,536 dimensions.
    """
    if features.shape[0] >= features.shape[1]:
        return features, np.eye(features.shape[1])
    left, sizes, right = np.linalg.svd(features, full_matrices=False)
    return left * sizes, right.T
