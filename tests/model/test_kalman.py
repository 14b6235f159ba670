"""The smoother against the textbook's two passes, written plainly in numpy."""

from __future__ import annotations

import numpy as np
import torch

from redheart.model import dimensions
from redheart.model.modules.kalman import STATE, KalmanFilter, smooth


def textbook(y, r, a, q, m0, p0, mask):  # type: ignore[no-untyped-def]
    """Rauch, Tung & Striebel 1965, one story at a time: a Kalman filter forward, then the smoother's pass back."""
    steps, state = y.shape
    means, covariances, predicted_means, predicted_covariances = [], [], [], []
    mean, covariance = m0, np.diag(p0)
    for t in range(steps):
        if t:
            mean, covariance = a @ mean, a @ covariance @ a.T + np.diag(q)
        predicted_means.append(mean)
        predicted_covariances.append(covariance)
        if mask[t]:
            gain = covariance @ np.linalg.inv(covariance + np.diag(r[t]))
            mean = mean + gain @ (y[t] - mean)
            covariance = (np.eye(state) - gain) @ covariance
        means.append(mean)
        covariances.append(covariance)
    for t in reversed(range(steps - 1)):
        gain = covariances[t] @ a.T @ np.linalg.inv(predicted_covariances[t + 1])
        means[t] = means[t] + gain @ (means[t + 1] - predicted_means[t + 1])
        covariances[t] = covariances[t] + gain @ (covariances[t + 1] - predicted_covariances[t + 1]) @ gain.T
    return np.stack(means), np.stack([np.diag(c) for c in covariances])


def problem(steps: int = 16, batch: int = 3) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(batch, steps, STATE, generator=generator)
    r = torch.rand(batch, steps, STATE, generator=generator) + 0.05
    a = 0.9 * torch.eye(STATE) + 0.1 * torch.randn(STATE, STATE, generator=generator)
    q, p0 = torch.rand(2, STATE, generator=generator).add(0.02).unbind(0)
    m0 = torch.randn(STATE, generator=generator)
    mask = torch.arange(steps)[None, :] < torch.tensor([steps, max(1, steps // 2), 1])[:batch, None]
    return y, r, a, q, m0, p0, mask


def check(arguments: tuple[torch.Tensor, ...]) -> None:
    means, variances = smooth(*arguments)
    y, r, a, q, m0, p0, mask = (argument.double().numpy() for argument in arguments)
    for item in range(len(y)):
        wanted_means, wanted_variances = textbook(y[item], r[item], a, q, m0, p0, mask[item])
        np.testing.assert_allclose(means[item].numpy(), wanted_means, atol=2e-4, rtol=1e-3)
        np.testing.assert_allclose(variances[item].numpy(), wanted_variances, atol=2e-4, rtol=1e-3)


def test_the_smoother_agrees_with_the_textbook() -> None:
    check(problem())


def test_a_story_of_one_segment_is_smoothed() -> None:
    check(problem(steps=1))


def test_a_gap_in_the_observations_is_bridged() -> None:
    *rest, mask = problem()
    mask[0, 4:7] = False
    check((*rest, mask))


def test_extreme_noises_stay_finite_and_differentiable() -> None:
    torch.manual_seed(0)
    module = KalmanFilter(dimensions("tiny"))
    hidden = 100 * torch.randn(2, 16, dimensions("tiny").d_model)
    features, prediction = module(hidden, torch.ones(2, 16, dtype=torch.bool))
    (features.sum() + prediction.sum()).backward()
    assert features.isfinite().all() and prediction.isfinite().all()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in module.parameters())


def test_it_computes_in_fp32_under_autocast() -> None:
    torch.manual_seed(0)
    module = KalmanFilter(dimensions("tiny"))
    hidden, mask = torch.randn(2, 5, dimensions("tiny").d_model), torch.ones(2, 5, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        prediction = module(hidden, mask)[1]
    torch.testing.assert_close(prediction.float(), module(hidden, mask)[1], atol=0.02, rtol=0.1)
