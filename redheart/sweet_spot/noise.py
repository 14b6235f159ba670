"""The noise of a curve from epoch to epoch, estimated without knowing its shape.

What this can't see: ``choose`` is the same sample in every epoch, so its sampling error is shared by all epochs and
does not show as jumps. It moves the whole curve, and mostly cancels when epochs are compared.
"""

from __future__ import annotations

import numpy as np

from redheart.sweet_spot.curves import Numbers

#: Third differences need four points each; with fewer than four of them their median means nothing.
MIN_EPOCHS = 7
CERTAINTY_PER_STEP = 0.1
_THIRD_DIFFERENCE = np.array([1.0, -3.0, 3.0, -1.0]) / np.sqrt(20.0)
_MEDIAN_TO_DEVIATION = 1.4826  # of the absolute value of a normal variable


def noise_level(values: Numbers) -> float | None:
    """Standard deviation of the epoch-to-epoch noise of a curve; None: too few epochs to say.

    Third differences, scaled to unit variance, remove any locally quadratic shape (difference-based variance
    estimation: Gasser, Sroka & Jennen-Steinmetz 1986, Biometrika 73; Hall, Kay & Titterington 1990, Biometrika 77);
    the median instead of the mean keeps a steep start from passing for noise.

    Args:
        values: shape ``(epochs,)``, finite.
    """
    if len(values) < MIN_EPOCHS:
        return None
    return float(_MEDIAN_TO_DEVIATION * np.median(np.abs(np.convolve(values, _THIRD_DIFFERENCE, mode="valid"))))


def certainty(values: Numbers) -> float:
    """How surely the best of ``values`` (larger is better) is told from the rest, 0..1.

    The share of the variance over the epochs that is not noise, times the share of the epochs that lie more than two
    deviations of the noise below the best, and so are ruled out: a curve of pure noise and a wide flat top both make
    the best one arbitrary. Where the noise can't be estimated it is ``CERTAINTY_PER_STEP`` for each step between epochs.

    Args:
        values: shape ``(epochs,)``, finite, not all equal.
    """
    noise = noise_level(values)
    if noise is None:
        return CERTAINTY_PER_STEP * (len(values) - 1)
    signal = max(0.0, 1.0 - noise**2 / float(values.var()))
    ruled_out = float((values < values.max() - 2.0 * noise).sum()) / (len(values) - 1)
    return signal * ruled_out
