"""Keys of learning rates: the rounding, the key in the stores, and when two learning rates count as one.

A learning rate *is* its key: planned numbers are rounded before anything is asked of them, and the key is the
shortest decimal that reads back as the same float (``repr``). So keys and learning rates are one to one at every
stage, the key can be typed as ``--lr``, and the keys of an older store (``1e-05``, ``1.5383211346269175e-05``) are
keys here too. The 10 % rule, asked of the rounded numbers, makes them distinct in far fewer digits than that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

#: Slack of the resolution, so that a step of exactly 10 % is free in spite of the last bits of a float.
RESOLUTION_SLACK = 1e-9
#: Significant digits of a learning rate moved by exact steps: enough that rounding stays far inside the slack.
_STEP_DIGITS = 12
#: Digits that people read, type and compare; more only where these would bring two learning rates too close together.
_MIN_MOVED_DIGITS = 3


def key_of(learning_rate: float) -> str:
    """The learning rate's name in every file: ``5.6e-05``."""
    return repr(float(learning_rate))


def round_significant(value: float, digits: int) -> float:
    """``value`` to ``digits`` significant decimal digits."""
    return float(f"{value:.{digits - 1}e}")


def round_to_spacing(learning_rate: float, spacing: float) -> float:
    """The shortest decimal, of at least two digits, that moves by at most a twentieth of the grid's spacing.

    Args:
        spacing: distance to the next grid point as a natural logarithm.
    """
    digits = 2
    # n significant digits are off by at most half a unit of the last one: 0.5 · 10^(1-n) where the mantissa is 1.
    while 0.5 * 10.0 ** (1 - digits) > spacing / 20 and digits < _STEP_DIGITS:
        digits += 1
    return round_significant(learning_rate, digits)


def step(learning_rate: float, steps: int, min_spacing: float) -> float:
    """``learning_rate`` moved by ``steps`` steps of ``min_spacing`` (0.10: ten per cent); negative: downwards."""
    return round_significant(learning_rate * (1.0 + min_spacing) ** steps, _STEP_DIGITS)


def shortened(learning_rate: float, is_free: Callable[[float], bool]) -> float:
    """``learning_rate``, which is free, in three significant digits, or in the fewest in which it is free still."""
    for digits in range(_MIN_MOVED_DIGITS, _STEP_DIGITS):
        rounded = round_significant(learning_rate, digits)
        if is_free(rounded):
            return rounded
    return learning_rate


def nearest_tested(learning_rate: float, others: Iterable[float], min_spacing: float) -> float | None:
    """The one of ``others`` that counts as the same learning rate at the sweep's resolution, nearest first."""
    limit = math.log1p(min_spacing) - RESOLUTION_SLACK
    near = [(abs(math.log(learning_rate / other)), other) for other in others]
    near = [pair for pair in near if pair[0] < limit]
    return min(near)[1] if near else None
