"""The fit of the best learning rate: a quadratic in log10 LR over the trials, its interval, the noise.

The choice itself does not rest on the fit: it is the tested learning rate with the lowest seed-adjusted mean validation loss. The fit
is the evidence beside it. Near its minimum a smooth loss is a parabola in log learning rate; the interval is a parametric
bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 6.5): losses drawn around the fit with
the measured noise, fitted again. Noise comes from repeats under other seeds, else from the residuals of the fit.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from redheart.sweep.evidence import Evidence, NoiseSource
from redheart.sweep.seed_effects import Observation, additive_parts, mean_losses

_HALF_WIDTHS = (0.5, 0.75, 1.0, 1.5, 2.0)  # decades around the best: the narrowest whose fit is settled inside it
_MIN_POINTS = 5  # two more than the parabola has coefficients, so that residuals mean something
_TWO_SIDED_95 = 1.96


@dataclass(frozen=True)
class _Tested:
    """What the trials say of each learning rate that never diverged: seed-adjusted mean loss and number of runs."""

    losses: dict[float, float]
    runs: dict[float, int]
    best: float

    def is_within_noise(self, learning_rate: float, noise: float | None) -> bool:
        """Whether its loss can't be told from the best's at 95 %."""
        if learning_rate == self.best:
            return True
        if noise is None:
            return False
        spread = _TWO_SIDED_95 * noise * math.sqrt(1 / self.runs[learning_rate] + 1 / self.runs[self.best])
        return self.losses[learning_rate] - self.losses[self.best] <= spread


def fit_learning_rate(
    results: Sequence[Observation], *, samples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> Evidence | None:
    """The choice and its evidence; None where every trial diverged."""
    losses = mean_losses(results)
    if not losses:
        return None
    runs = Counter(result.learning_rate for result in results)
    tested = _Tested(losses, runs, min(losses, key=lambda rate: (losses[rate], rate)))
    noise, source = _noise_of_repeats(results, losses)
    fit, problem = _fit(tested, noise, _Bootstrap(samples, confidence, np.random.default_rng(seed)))
    if noise is None and fit is not None:
        noise, source = fit.residual, "residuals"
    best, ends = tested.best, (min(runs), max(runs))
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
        within_noise=tuple(rate for rate in sorted(losses) if tested.is_within_noise(rate, noise)),
        at_edge=best in ends and len(runs) > 1,
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


def _fit(tested: _Tested, noise: float | None, bootstrap: _Bootstrap) -> tuple[_Fit | None, str | None]:
    """The fit in the narrowest window that holds its interval, else in the widest that has one; or why there is none."""
    windows = _windows(sorted(tested.losses), tested.best)
    if not windows:
        return None, f"fewer than {_MIN_POINTS} learning rates, or none on one side of the best"
    fit: _Fit | None = None
    for window in windows:
        fit = _fit_window(window, tested, noise, bootstrap) or fit
        if fit is not None and fit.is_inside:
            break
    return fit, None if fit else "the loss has no minimum inside the window: flat or falling to one side"


def _fit_window(window: list[float], tested: _Tested, noise: float | None, bootstrap: _Bootstrap) -> _Fit | None:
    """The fit in one window, or None where the parabola has no minimum there."""
    best = tested.best
    x = np.log10(np.array(window)) - math.log10(best)
    y = np.array([tested.losses[rate] for rate in window])
    n = np.array([tested.runs[rate] for rate in window], dtype=float)
    fitted = _parabola(x, y, n)
    vertex = _vertex(fitted, x)
    if vertex is None:
        return None
    residual = math.sqrt(float(np.sum(n * (y - np.polyval(fitted, x)) ** 2)) / (len(window) - 3))
    low, high = bootstrap.interval(x, n, fitted, residual if noise is None else noise)
    return _Fit(
        minimum=best * 10.0**vertex,
        coefficients=(float(fitted[0]), float(fitted[1]), float(fitted[2])),
        window=(window[0], window[-1]),
        interval=(best * 10.0**low, best * 10.0**high),
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


@dataclass(frozen=True)
class _Bootstrap:
    """The parametric bootstrap: how many draws, of what confidence, from which generator (windows draw one after another)."""

    samples: int
    confidence: float
    generator: np.random.Generator

    def interval(
        self, x: NDArray[np.float64], runs: NDArray[np.float64], fitted: NDArray[np.float64], noise: float
    ) -> tuple[float, float]:
        """Percentile interval of the minimum, in log10 from the best.

        A draw without a minimum inside counts as the end it falls towards.

        Args:
            x: (learning rates,) in log10 from the best; ``runs`` is as long.
            fitted: (3,) coefficients, the highest power first.
        """
        centre = np.polyval(fitted, x)
        draws = centre + self.generator.standard_normal((self.samples, len(x))) * (noise / np.sqrt(runs))
        design = np.vander(x, 3) * np.sqrt(runs)[:, None]
        solved = np.linalg.lstsq(design, (draws * np.sqrt(runs)).T, rcond=None)[0]  # (3, samples)
        ends = np.vander(np.array([x.min(), x.max()]), 3) @ solved
        lower_end = np.where(ends[0] <= ends[1], x.min(), x.max())
        with np.errstate(divide="ignore", invalid="ignore"):
            vertices = np.clip(-solved[1] / (2 * solved[0]), x.min(), x.max())
        vertices = np.where(solved[0] > 0, vertices, lower_end)
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(vertices, [tail, 1 - tail])
        return float(low), float(high)
