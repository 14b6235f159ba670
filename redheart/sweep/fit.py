"""What the trials say about the best learning rate, and how surely: a quadratic in log10 LR, its interval, the noise.

The choice itself does not rest on the fit: it is the tested learning rate with the lowest seed-adjusted mean validation loss. The fit
is the evidence beside it. Near its minimum a smooth loss is a parabola in log learning rate; the interval is a parametric
bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 6.5): losses drawn around the fit with
the measured noise, fitted again. Noise comes from repeats under other seeds, else from the residuals of the fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from redheart.sweep.planner import Observation, additive_parts, mean_losses

_HALF_WIDTHS = (0.5, 0.75, 1.0, 1.5, 2.0)  # decades around the best: the narrowest whose fit is settled inside it
_MIN_POINTS = 5  # two more than the parabola has coefficients, so that residuals mean something
_TWO_SIDED_95 = 1.96

NoiseSource = Literal["repeats", "residuals"]


@dataclass(frozen=True)
class Evidence:
    """How sure the choice is.

    Attributes:
        best: the chosen learning rate: the lowest ``val_loss_seed_adjusted``.
        val_loss: the plain mean of its ``runs``, as in the cumulative file.
        val_loss_seed_adjusted: their mean with the seeds' parts taken out, which is what learning rates are compared by.
        fit_minimum: where the fitted parabola is lowest; None where there is no minimum to fit (``fit_problem``).
        interval: of ``fit_minimum`` at ``confidence``.
        coefficients: loss = a·x² + b·x + c with x = log10 LR − log10 best; valid over ``window`` (learning rates).
        noise: standard deviation of one trial's validation loss, its seed's part taken out; None where neither repeats nor residuals tell.
        within_noise: learning rates whose mean loss can't be told from the best's at 95 %, the best included.
    """

    best: float
    val_loss: float
    val_loss_seed_adjusted: float
    runs: int
    fit_minimum: float | None
    interval: tuple[float, float] | None
    confidence: float
    coefficients: tuple[float, float, float] | None
    window: tuple[float, float] | None
    fit_problem: str | None
    noise: float | None
    noise_source: NoiseSource | None
    within_noise: tuple[float, ...]
    at_edge: bool


def fit_learning_rate(
    results: Sequence[Observation], *, samples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> Evidence | None:
    """The choice and its evidence; None where every trial diverged."""
    losses = mean_losses(results)
    if not losses:
        return None
    runs = {rate: sum(result.learning_rate == rate for result in results) for rate in losses}
    best = min(losses, key=lambda rate: (losses[rate], rate))
    rates = sorted(losses)
    tested = sorted({result.learning_rate for result in results})
    noise, source = _noise_of_repeats(results, losses)
    generator = np.random.default_rng(seed)
    fit: _Fit | None = None
    windows = _windows(rates, best)
    for window in windows:
        fit = _fit_window(window, best, losses, runs, noise, samples, confidence, generator) or fit
        if fit is not None and fit.is_inside:
            break
    if noise is None and fit is not None:
        noise, source = fit.residual, "residuals"
    problem = None
    if not windows:
        problem = f"fewer than {_MIN_POINTS} learning rates, or none on one side of the best"
    elif fit is None:
        problem = "the loss has no minimum inside the window: flat or falling to one side"
    return Evidence(
        best=best,
        val_loss=_plain_mean(results, best),
        val_loss_seed_adjusted=losses[best],
        runs=runs[best],
        fit_minimum=fit.minimum if fit else None,
        interval=fit.interval if fit else None,
        confidence=confidence,
        coefficients=fit.coefficients if fit else None,
        window=fit.window if fit else None,
        fit_problem=problem,
        noise=noise,
        noise_source=source,
        within_noise=tuple(rate for rate in rates if _indistinguishable(rate, best, losses, runs, noise)),
        at_edge=best in (tested[0], tested[-1]) and len(tested) > 1,
    )


def _plain_mean(results: Sequence[Observation], rate: float) -> float:
    losses = [result.val_loss for result in results if result.learning_rate == rate and result.val_loss is not None]
    return math.fsum(losses) / len(losses)


def _noise_of_repeats(
    results: Sequence[Observation], losses: dict[float, float]
) -> tuple[float | None, NoiseSource | None]:
    """Standard deviation of runs around their learning rate's and seed's parts; at least two degrees of freedom."""
    _, seeds = additive_parts(results)
    deviations = [
        (result.val_loss - losses[result.learning_rate] - seeds[result.seed]) ** 2
        for result in results
        if result.learning_rate in losses and result.val_loss is not None
    ]
    freedom = len(deviations) - len(losses) - (len(seeds) - 1)
    return (math.sqrt(math.fsum(deviations) / freedom), "repeats") if freedom >= 2 else (None, None)


def _windows(rates: list[float], best: float) -> list[list[float]]:
    """Learning rates around the best, narrowest first: enough of them, and some on either side."""
    windows: list[list[float]] = []
    for half_width in _HALF_WIDTHS:
        inside = [rate for rate in rates if abs(math.log10(rate / best)) <= half_width]
        enough = len(inside) >= _MIN_POINTS and inside[0] < best < inside[-1]
        if enough and inside not in windows:
            windows.append(inside)
    return windows


@dataclass(frozen=True)
class _Fit:
    minimum: float
    coefficients: tuple[float, float, float]
    window: tuple[float, float]
    interval: tuple[float, float]
    residual: float

    @property
    def is_inside(self) -> bool:
        """Whether the window was wide enough for the interval to end inside it rather than at its ends."""
        return self.window[0] * 1.001 < self.interval[0] and self.interval[1] < self.window[1] / 1.001


def _fit_window(
    window: list[float],
    best: float,
    losses: dict[float, float],
    runs: dict[float, int],
    noise: float | None,
    samples: int,
    confidence: float,
    generator: np.random.Generator,
) -> _Fit | None:
    """The fit in one window, or None where the parabola has no minimum there."""
    x = np.log10(np.array(window)) - math.log10(best)
    y = np.array([losses[rate] for rate in window])
    n = np.array([runs[rate] for rate in window], dtype=float)
    fitted = _parabola(x, y, n)
    vertex = _vertex(fitted, x)
    if vertex is None:
        return None
    residual = math.sqrt(float(np.sum(n * (y - np.polyval(fitted, x)) ** 2)) / (len(window) - 3))
    ends = _bootstrap(x, n, fitted, residual if noise is None else noise, samples, confidence, generator)
    return _Fit(
        minimum=best * 10.0**vertex,
        coefficients=(float(fitted[0]), float(fitted[1]), float(fitted[2])),
        window=(window[0], window[-1]),
        interval=(best * 10.0 ** ends[0], best * 10.0 ** ends[1]),
        residual=residual,
    )


def _parabola(x: NDArray[np.float64], y: NDArray[np.float64], runs: NDArray[np.float64]) -> NDArray[np.float64]:
    # polyfit's weights multiply residuals: a mean of n runs has variance 1/n, hence the root.
    fitted: NDArray[np.float64] = np.polyfit(x, y, 2, w=np.sqrt(runs))
    return fitted


def _vertex(coefficients: NDArray[np.float64], x: NDArray[np.float64]) -> float | None:
    """Where the parabola is lowest, in log10 from the best; None when it opens downwards or lies outside the window."""
    a, b = float(coefficients[0]), float(coefficients[1])
    if a <= 0:
        return None
    vertex = -b / (2 * a)
    return vertex if x.min() <= vertex <= x.max() else None


def _bootstrap(
    x: NDArray[np.float64],
    runs: NDArray[np.float64],
    fitted: NDArray[np.float64],
    noise: float,
    samples: int,
    confidence: float,
    generator: np.random.Generator,
) -> tuple[float, float]:
    """Percentile interval of the minimum, in log10 from the best. A draw without a minimum inside counts as the end it falls towards."""
    centre = np.polyval(fitted, x)
    draws = centre + generator.standard_normal((samples, len(x))) * (noise / np.sqrt(runs))
    design = np.vander(x, 3) * np.sqrt(runs)[:, None]
    solved = np.linalg.lstsq(design, (draws * np.sqrt(runs)).T, rcond=None)[0]  # (3, samples)
    ends = np.vander(np.array([x.min(), x.max()]), 3) @ solved
    lower_end = np.where(ends[0] <= ends[1], x.min(), x.max())
    with np.errstate(divide="ignore", invalid="ignore"):
        vertices = np.clip(-solved[1] / (2 * solved[0]), x.min(), x.max())
    vertices = np.where(solved[0] > 0, vertices, lower_end)
    tail = (1 - confidence) / 2
    low, high = np.quantile(vertices, [tail, 1 - tail])
    return float(low), float(high)


def _indistinguishable(
    rate: float, best: float, losses: dict[float, float], runs: dict[float, int], noise: float | None
) -> bool:
    if rate == best:
        return True
    if noise is None:
        return False
    spread = _TWO_SIDED_95 * noise * math.sqrt(1 / runs[rate] + 1 / runs[best])
    return losses[rate] - losses[best] <= spread
