"""Multinomial logistic regression whose targets are distributions: votes, or shares of emotions.

The same optimum as scikit-learn's ``LogisticRegression`` on each item repeated once per class, weighted by its share in
that class (a test holds it), in a fraction of the time, because no item is repeated and a path of penalties goes on from
the last one's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController
from torch import Tensor

#: Weaker penalties cost more steps the weaker they are, and the error over the penalty has one minimum: after so many
#: penalties in a row that were worse no better one follows.
_PATIENCE = 2
_MAX_STEPS = 1000
#: Largest slope that an optimum may have, of the summed cross-entropy over axes stretched to about unit curvature: the sum
#: is then too high by half the slopes' squares. Where penalties are compared, and in the end.
_ROUGH, _FINE = 1e-3, 1e-5


@dataclass(frozen=True)
class SoftLogistic:
    """``softmax(features @ weights + bias + prior_log)``, float64.

    Attributes:
        weights: ``(features, classes)``; bias: ``(classes,)``, not penalised.
        penalty: what half the weights' squares cost, beside the sum of the items' cross-entropies.
        prior_log: ``(classes,)`` logarithms of shares, from which the solver sets out.
    """

    weights: Tensor
    bias: Tensor
    penalty: float
    prior_log: Tensor

    def log_shares(self, features: Tensor) -> Tensor:
        """Logarithms of the predicted shares ``(items, classes)``."""
        return torch.addmm(self.bias + self.prior_log, features, self.weights).log_softmax(dim=-1)


class _Path:
    """The optimum for one penalty after the other, each sought from where the last one was found."""

    def __init__(self, features: Tensor, shares: Tensor, prior_log: Tensor, check: Callable[[], None]) -> None:
        self._features, self._shares, self._prior_log, self._check = features, shares, prior_log, check
        self._solution = features.new_zeros(features.shape[1] + 1, shares.shape[1])  # the last row is the bias
        prior = prior_log.softmax(dim=-1)
        spread = float((prior * (1 - prior)).mean())
        #: Second derivatives by each weight where all predictions are the prior.
        self._curvature = spread * features.square().sum(dim=0), spread * len(features) * features.new_ones(1)

    def optimum(self, penalty: float, slope: float) -> SoftLogistic:
        """By L-BFGS (Liu & Nocedal 1989; the problem is convex), on axes stretched by the root of their second derivative.

        Without the stretching short axes take hundreds of steps.
        """
        from scipy.optimize import minimize

        by_weight, by_bias = self._curvature
        stretch = torch.cat((by_weight + penalty, by_bias)).rsqrt().unsqueeze(1)

        def objective(at: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            self._check()
            solution = torch.from_numpy(at).view_as(self._solution) * stretch
            value, gradient = self._objective(solution, penalty)
            return value, (gradient * stretch).flatten().numpy()

        found = minimize(
            objective,
            (self._solution / stretch).flatten().numpy(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _MAX_STEPS, "maxfun": 2 * _MAX_STEPS, "gtol": slope, "ftol": 0.0},
        )
        self._solution = torch.from_numpy(found.x).view_as(self._solution) * stretch
        return SoftLogistic(self._solution[:-1], self._solution[-1], penalty, self._prior_log)

    def _objective(self, solution: Tensor, penalty: float) -> tuple[float, Tensor]:
        """The summed cross-entropy with the weights' penalty, and its gradient in the shape of ``solution``."""
        features, shares, weights = self._features, self._shares, solution[:-1]
        logarithms = torch.addmm(solution[-1] + self._prior_log, features, weights).log_softmax(dim=-1)
        value = 0.5 * penalty * weights.square().sum() - (shares * logarithms).sum()
        slope = logarithms.exp() - shares
        return float(value), torch.cat((features.T @ slope + penalty * weights, slope.sum(dim=0, keepdim=True)))


def fit_soft_logistic(
    features: Tensor,
    shares: Tensor,
    prior_log: Tensor,
    penalties: Sequence[float],
    folds: Sequence[NDArray[np.bool_]],
    *,
    check: Callable[[], None] = lambda: None,
) -> tuple[SoftLogistic, float]:
    """Fits the regression, its penalty chosen by cross-validation on these items; see ``SoftLogistic``.

    Args:
        features: ``(items, features)`` float64, centred; best on the axes of a ``Decomposition``.
        shares: ``(items, classes)`` float64, rows that sum to 1.
        prior_log: ``(classes,)``.
        penalties: the strongest first.
        folds: which items ``(items,)`` are held out, one array per fold.
        check: called at every step of the solver; what it raises ends the fit.

    Returns:
        The regression, and the cross-entropy of its penalty, summed over all items that were held out.
    """
    with _one_blas_thread():
        return _fit(features, shares, prior_log, penalties, [torch.from_numpy(fold) for fold in folds], check)


def _fit(
    features: Tensor,
    shares: Tensor,
    prior_log: Tensor,
    penalties: Sequence[float],
    held_out: Sequence[Tensor],
    check: Callable[[], None],
) -> tuple[SoftLogistic, float]:
    paths = [_Path(features[~held], shares[~held], prior_log, check) for held in held_out]
    best, lowest, worse = penalties[0], float("inf"), 0
    for penalty in penalties:
        error = 0.0
        for path, held in zip(paths, held_out, strict=True):
            error -= float((shares[held] * path.optimum(penalty, _ROUGH).log_shares(features[held])).sum())
        if error < lowest:
            best, lowest, worse = penalty, error, 0
        elif (worse := worse + 1) == _PATIENCE:
            break
    return _Path(features, shares, prior_log, check).optimum(best, _FINE), lowest


def _one_blas_thread() -> AbstractContextManager[object]:
    """One thread for the solver's BLAS, while torch keeps its own.

    The solver's steps and torch's products take turns, hundreds of times a second, and each library's threads wait for
    their next work by spinning on the cores that the other's need: with two threads each a fit takes ten times as long.
    """
    limited: AbstractContextManager[object] = _libraries().limit(limits=1, user_api="blas")
    return limited


@cache
def _libraries() -> ThreadpoolController:
    import scipy.optimize  # noqa: F401  # only libraries that are loaded can be found

    return ThreadpoolController()
