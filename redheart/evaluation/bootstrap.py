"""The bootstrap over situations: intervals for a number, with the same resamples for everything that is compared.

Percentile intervals (Efron & Tibshirani 1993, ch. 13). Differences are paired: both models are scored on the same
resampled situations, so that what makes a situation hard cancels out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from redheart.errors import Interrupted
from redheart.facts.candidate import Difference
from redheart.facts.comparison import Estimate

Array = NDArray[np.float64]
#: Where an interval of differences lies; one that touches 0 is around it.
Side = Literal["below", "around", "above"]
#: Resampled index numbers held at a time: 2M of them are 16 MB.
_AT_A_TIME = 2_000_000


@dataclass(frozen=True)
class Resamples:
    """``samples`` draws of ``count`` situations with replacement; equal seeds give equal draws.

    Attributes:
        should_stop: asked every ``_AT_A_TIME`` numbers, which take a fraction of a second.
    """

    count: int
    samples: int
    seed: int
    should_stop: Callable[[], bool] = field(default=lambda: False, compare=False)

    def sums(self, columns: Array) -> Array:
        """Sums over each resample: ``(count, k)`` numbers of the situations -> ``(samples, k)``.

        Raises:
            Interrupted: ``should_stop`` said so.
        """
        if columns.shape[0] != self.count:
            raise ValueError(f"{columns.shape[0]} rows, wanted {self.count}")
        generator = np.random.default_rng(self.seed)
        at_a_time = max(1, _AT_A_TIME // max(1, self.count))
        pieces = []
        for start in range(0, self.samples, at_a_time):
            if self.should_stop():
                raise Interrupted("stopped while intervals were computed; the same command does it again")
            rows = min(at_a_time, self.samples - start)
            drawn = generator.integers(0, self.count, size=(rows, self.count))
            drawn += np.arange(rows)[:, None] * self.count
            times = np.bincount(drawn.ravel(), minlength=rows * self.count).reshape(rows, self.count)
            pieces.append(times.astype(np.float64) @ columns)
        return np.concatenate(pieces)


def interval(values: Array, confidence: float) -> tuple[float, float]:
    """Percentile interval of bootstrap values."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def side_of_zero(low: float, high: float) -> Side:
    """Where the interval ``low`` to ``high`` lies."""
    return "below" if high < 0 else "above" if low > 0 else "around"


@dataclass(frozen=True)
class Draws:
    """A metric, or a difference of two, on the split itself and on each resample of it."""

    value: float
    resampled: Array

    def __sub__(self, other: Draws) -> Draws:
        """The paired difference: both were resampled alike."""
        return Draws(self.value - other.value, self.resampled - other.resampled)

    @staticmethod
    def mean(several: Sequence[Draws]) -> Draws:
        """The mean of several metrics, resample by resample."""
        return Draws(
            float(np.mean([one.value for one in several])), np.mean([one.resampled for one in several], axis=0)
        )

    def estimate(self, confidence: float) -> Estimate:
        """The percentile interval around the value."""
        usable = self.resampled[np.isfinite(self.resampled)]
        if len(usable) < len(self.resampled) / 2 or not len(usable):
            return Estimate(self.value, None, None)
        return Estimate(self.value, *interval(usable, confidence))


def paired_difference(
    candidate: Array, reference: Array, resamples: Resamples, confidence: float, *, comparisons: int = 1
) -> Difference | None:
    """Compares two models on the same situations; None with fewer than two of them.

    Args:
        candidate, reference: ``(count,)`` item losses; situations where one of them is not a number are left out.
        comparisons: how many candidates the one that is reported was picked from.
    """
    valid = np.isfinite(candidate) & np.isfinite(reference)
    if valid.sum() < 2:
        return None
    difference = np.where(valid, candidate - reference, 0.0)
    sums = resamples.sums(np.stack([difference, valid.astype(np.float64)], axis=1))
    sums = sums[sums[:, 1] > 0]
    drawn = Draws(float(difference.sum() / valid.sum()), sums[:, 0] / sums[:, 1])
    low, high = interval(drawn.resampled, confidence)
    guarded_low, guarded_high = interval(drawn.resampled, 1 - (1 - confidence) / comparisons)
    return Difference(
        mean=drawn.value,
        low=low,
        high=high,
        guarded_low=guarded_low,
        guarded_high=guarded_high,
        confidence=confidence,
        probability_better=float((drawn.resampled < 0).mean() + 0.5 * (drawn.resampled == 0).mean()),
        count=int(valid.sum()),
    )
