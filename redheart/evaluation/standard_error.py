"""The standard error of a mean with several sources of variance, and Student's t interval around it.

Variances of independent parts add up; the degrees of freedom are those of Welch (1947) and Satterthwaite (1946).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class StandardError:
    """Of a mean.

    Attributes:
        freedom: degrees of freedom; infinite where nothing varies.
    """

    error: float
    freedom: float

    @classmethod
    def of(cls, parts: Sequence[tuple[float, int]]) -> StandardError:
        """From each part's variance of the mean, and its degrees of freedom, at least 1."""
        error = math.sqrt(sum(variance for variance, _ in parts))
        if error == 0.0:
            return cls(0.0, math.inf)
        return cls(error, error**4 / sum(variance**2 / degrees for variance, degrees in parts))

    def margin(self, confidence: float) -> float:
        """Half the width of the interval around the mean."""
        from scipy.stats import t

        if self.error == 0.0:
            return 0.0
        return float(t.ppf(0.5 + confidence / 2, self.freedom)) * self.error

    def p_value(self, mean: float) -> float:
        """Two-sided, of a mean of 0."""
        from scipy.stats import t

        if self.error == 0.0:
            return 1.0 if mean == 0.0 else 0.0
        return float(2 * t.sf(abs(mean) / self.error, self.freedom))
