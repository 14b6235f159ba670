"""Change points of a curve: CUSUM says whether there are any, ruptures says where.

The peak of a CUSUM over a bend lies where the residuals change sign, not at the bend, so its statistic decides only
whether one straight line is enough. The places come from an optimal cut into straight lines.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import ruptures
from ruptures.base import BaseCost

from redheart.sweet_spot.curves import Epochs, Numbers
from redheart.sweet_spot.noise import noise_level

_SIMULATIONS = 999  # the smallest p-value is then 1/1000, which survives correction over 17 modules
#: A segment costs a slope, an intercept and a place: three parameters, each log(n) under the Bayesian criterion.
_PARAMETERS_A_SEGMENT = 3
#: A curve smoother than this share of its range is cut no finer: lines are only a way to describe a bend.
_SMOOTHEST = 0.005


@dataclass(frozen=True, slots=True)
class Cusum:
    """``statistic``: largest |cumulative sum| of the standardised residuals; ``epoch``: where it is reached."""

    statistic: float
    p_value: float
    epoch: int


def _residuals(epochs: Epochs, values: Numbers) -> Numbers:
    """What the best straight line leaves of ``values``, shape ``(..., epochs)``."""
    time = (epochs - epochs.mean()).astype(np.float64)
    slope = values @ time / (time @ time)
    centred = values - values.mean(axis=-1, keepdims=True)
    return np.asarray(centred - slope[..., np.newaxis] * time, dtype=np.float64)


def _largest_sums(epochs: Epochs, values: Numbers) -> Numbers:
    return np.asarray(np.abs(np.cumsum(_residuals(epochs, values), axis=-1)), dtype=np.float64)


@functools.lru_cache(maxsize=64)
def _null_statistics(distances: tuple[int, ...]) -> Numbers:
    """The statistic of curves that are one straight line and white noise, ascending."""
    noise = np.random.default_rng(0).standard_normal((_SIMULATIONS, len(distances)))
    levels = np.array([noise_level(row) for row in noise])
    peaks = _largest_sums(np.array(distances), noise).max(axis=1)
    return np.sort(peaks / (levels * math.sqrt(len(distances))))


def cusum(epochs: Epochs, values: Numbers, noise: float) -> Cusum:
    """Tests whether one straight line describes the whole curve (OLS-CUSUM: Ploberger & Krämer 1992, Econometrica 60).

    The statistic is divided by the noise between epochs, not by the residuals' own deviation, which a bend inflates.
    Significance by a parametric bootstrap: the same statistic, with the noise estimated in the same way, on lines with
    white normal noise. Autocorrelated noise makes it too sure of itself; that is why it alone never makes a plateau.

    Args:
        epochs, values: shape ``(epochs,)``, at least ``noise.MIN_EPOCHS``, not all on one value.
        noise: standard deviation of the epoch-to-epoch noise, in units of ``values``.
    """
    path = _largest_sums(epochs, values)
    # Rounding is not a bend: a perfect line without noise has residuals around 1e-16.
    scale = max(noise, 1e-9 * float(np.ptp(values))) * math.sqrt(len(values))
    statistic = float(path.max()) / scale
    null = _null_statistics(tuple(int(epoch - epochs[0]) for epoch in epochs))
    at_least = len(null) - int(np.searchsorted(null, statistic, side="left"))
    return Cusum(statistic, (1 + at_least) / (1 + len(null)), int(epochs[int(path.argmax())]))


class _LineCost(BaseCost):  # type: ignore[misc]
    """Sum of squares around the best straight line of a stretch, in constant time from running sums."""

    model = "line"
    min_size = 3

    def __init__(self, epochs: Epochs) -> None:
        self.time = (epochs - epochs.mean()).astype(np.float64)
        self.signal: Numbers = np.zeros((0, 1))
        self.sums: Numbers = np.zeros((6, 1))  # nothing is fitted yet

    def fit(self, signal: Numbers) -> _LineCost:
        values = signal.ravel() - signal.mean()
        self.signal = signal
        columns = (np.ones_like(values), self.time, values, self.time**2, self.time * values, values**2)
        self.sums = np.concatenate([np.zeros((6, 1)), np.cumsum(np.stack(columns), axis=1)], axis=1)
        return self

    def error(self, start: int, end: int) -> float:
        count, time, value, time_time, time_value, value_value = self.sums[:, end] - self.sums[:, start]
        around = value_value - value * value / count
        spread = time_time - time * time / count
        shared = time_value - time * value / count
        return max(0.0, float(around - shared * shared / spread))


def straight_stretches(epochs: Epochs, values: Numbers, noise: float) -> list[tuple[int, int]]:
    """Cuts a curve into straight stretches: (first index, one past the last index) each, in order, without gaps.

    Exact search (PELT: Killick, Fearnhead & Eckley 2012, JASA 107) over every place (``jump=1``), with the Bayesian
    information criterion as the price of a cut.

    Args:
        noise: standard deviation of the epoch-to-epoch noise, in units of ``values``.
    """
    count = len(values)
    smallest = 3 if count < 20 else 4
    scale = max(noise, _SMOOTHEST * float(np.ptp(values)))
    search = ruptures.Pelt(custom_cost=_LineCost(epochs), min_size=smallest, jump=1)
    penalty = _PARAMETERS_A_SEGMENT * scale**2 * math.log(count)
    ends = search.fit(values.reshape(-1, 1)).predict(pen=penalty)
    return list(zip([0, *ends[:-1]], ends, strict=True))
