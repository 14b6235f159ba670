"""The regression of shares is at its optimum, whatever the length of the axes, and its penalty is the best of those tried."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from redheart.regression.soft_logistic import SoftLogistic, fit_soft_logistic


def problem(items: int = 60, axes: int = 8, noise: float = 1.0, shortest: float = 1e-3) -> tuple[Tensor, Tensor]:
    """Centred features on axes of lengths from 1 to ``shortest``, and shares of four classes that follow from them."""
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(items, axes, dtype=torch.float64, generator=generator)
    weights = torch.randn(axes, 4, dtype=torch.float64, generator=generator)
    scores = features @ weights + noise * torch.randn(items, 4, dtype=torch.float64, generator=generator)
    shares = scores.softmax(dim=-1)
    lengths = torch.logspace(0, float(np.log10(shortest)), axes, dtype=torch.float64)
    return (features - features.mean(dim=0)) * lengths, shares


def folds(items: int, count: int = 5) -> list[np.ndarray]:
    return [np.arange(items) % count == held for held in range(count)]


def witness(features: Tensor, shares: Tensor, penalty: float) -> LogisticRegression:
    """scikit-learn's, on each item once per class, weighted by its share."""
    repeated, classes = np.repeat(features.numpy(), 4, axis=0), np.tile(np.arange(4), len(features))
    theirs = LogisticRegression(C=1 / penalty, max_iter=10_000, tol=1e-10, solver="newton-cg")
    return theirs.fit(repeated, classes, sample_weight=shares.numpy().ravel())


@pytest.mark.parametrize("penalty", [10.0, 0.1, 1e-3])
def test_the_optimum_is_scikit_learns_on_weighted_repetitions_whatever_the_prior(penalty: float) -> None:
    features, shares = problem()
    wanted = witness(features, shares, penalty).predict_proba(features.numpy())
    for prior_log in (shares.mean(dim=0).log(), torch.tensor([0.7, 0.1, 0.1, 0.1], dtype=torch.float64).log()):
        found, _ = fit_soft_logistic(features, shares, prior_log, (penalty,), folds(60))
        assert found.log_shares(features).exp().numpy() == pytest.approx(wanted, abs=1e-5)


def test_the_penalty_is_the_one_with_the_least_error_on_what_was_held_out() -> None:
    features, shares = problem(axes=20, noise=3.0, shortest=1.0)
    penalties = [100.0, 10.0, 1.0, 0.1, 0.01, 1e-3]
    errors = []
    for penalty in penalties:
        error = 0.0
        for held in map(torch.from_numpy, folds(60)):
            theirs = witness(features[~held], shares[~held], penalty)
            error -= float((shares[held].numpy() * theirs.predict_log_proba(features[held].numpy())).sum())
        errors.append(error)
    found, lowest = fit_soft_logistic(features, shares, shares.mean(dim=0).log(), penalties, folds(60))
    assert 0 < errors.index(min(errors)) < len(penalties) - 1, "a choice at an end would show nothing"
    assert found.penalty == penalties[errors.index(min(errors))]
    assert lowest == pytest.approx(min(errors), rel=1e-4)


def test_a_check_is_called_at_every_step_and_ends_the_fit() -> None:
    features, shares = problem()
    calls: list[None] = []

    def check() -> None:
        calls.append(None)
        if len(calls) == 7:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        fit_soft_logistic(features, shares, shares.mean(dim=0).log(), (1e-3,), folds(60), check=check)
    assert len(calls) == 7


def test_without_any_axis_the_mean_shares_are_predicted() -> None:
    _, shares = problem()
    nothing = torch.zeros(60, 0, dtype=torch.float64)
    found, _ = fit_soft_logistic(nothing, shares, torch.full((4,), 0.25, dtype=torch.float64).log(), (1.0,), folds(60))
    assert isinstance(found, SoftLogistic) and found.weights.shape == (0, 4)
    torch.testing.assert_close(found.log_shares(nothing[:1]).exp()[0], shares.mean(dim=0), atol=1e-5, rtol=0)
