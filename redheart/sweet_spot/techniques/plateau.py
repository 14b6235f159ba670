"""Technique 1: the centre of the plateau of a module's loss – the stretch in which it has arrived and stays.

A plateau is one contiguous stretch of epochs that (a) exists only where CUSUM finds that the curve changes its course
at all, (b) runs between change points, (c) is flat by an equivalence test – not seeing a slope proves nothing in a
short stretch, so the slope's confidence bound must be small –, (d) has no trend by Mann–Kendall, and (e) lies at the
curve's best level: a stretch in which training was stuck is not a plateau to take weights from.

Confidence: 1 − (bound of the slope / largest slope that counts as flat): 0 just flat enough, 1 flat beyond doubt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from redheart.sweet_spot import trend
from redheart.sweet_spot.change_points import Cusum, cusum, straight_stretches
from redheart.sweet_spot.choice import Evidence, Reason, Vote, abstain
from redheart.sweet_spot.curves import Epochs, ModuleCurve, Numbers, is_constant, measured
from redheart.sweet_spot.noise import noise_level
from redheart.sweet_spot.techniques.technique import PREDICTIONS, Technique

#: A slope counts as flat below this share of the curve's mean slope (its range over its length).
FLAT_SHARE = 0.35
#: How far the stretch may be from the best level, and its parts from its mean, as a share of the curve's range.
LEVEL_SHARE = 0.12
_ONE_SIDED_95 = 1.645
_MIN_IN_PLATEAU = 4
_MIN_TO_SLOPE = 8
#: With few epochs a stretch around the lowest loss takes the tests' place, and never gets to be more sure than this.
SHORT_RUN_CONFIDENCE = 0.2
SHORT_RUN_LEVEL_SHARE = 0.10


@dataclass(frozen=True, slots=True)
class _Examined:
    """A curve long enough for tests: its measured points and what was found, before modules are compared."""

    epochs: Epochs
    loss: Numbers
    noise: float
    trend: trend.Trend
    change: Cusum


def votes(curves: Mapping[str, ModuleCurve], significance: float) -> dict[str, Vote]:
    """The vote for each module; the tests of all modules are corrected together.

    Args:
        significance: level of the tests, after control of the false discovery rate over modules.
    """
    result: dict[str, Vote] = {}
    examined: dict[str, _Examined] = {}
    for module, curve in curves.items():
        epochs, loss = measured(curve, curve.loss)
        if len(loss) < 2:
            result[module] = abstain("sweet_spot.too_few", count=len(loss))
        elif is_constant(loss):
            result[module] = abstain("sweet_spot.constant_loss")
        elif len(loss) < trend.MIN_EPOCHS:
            result[module] = _short_run(epochs, loss)
        else:
            noise = noise_level(loss)
            assert noise is not None  # MIN_EPOCHS is above what the noise needs
            examined[module] = _Examined(epochs, loss, noise, trend.mann_kendall(loss), cusum(epochs, loss, noise))
    trends = trend.control_false_discoveries({module: found.trend.p_value for module, found in examined.items()})
    changes = trend.control_false_discoveries({module: found.change.p_value for module, found in examined.items()})
    for module, found in examined.items():
        result[module] = _conclude(found, trends[module], changes[module], significance)
    return {module: result[module] for module in curves}


def window_of(vote: Vote) -> tuple[int, int] | None:
    """The first and the last epoch of the plateau that a vote is for; None: it is for none."""
    window = vote.evidence.get("window")
    if not isinstance(window, list):
        return None
    first, last = window
    return first, last


def _short_run(epochs: Epochs, loss: Numbers) -> Vote:
    """Too few epochs for any test: the contiguous stretch around the lowest loss, with little confidence."""
    best = int(loss.argmin())
    if best == len(loss) - 1:
        return abstain("sweet_spot.plateau.short_still_improving", count=len(loss))
    near = loss <= loss[best] + SHORT_RUN_LEVEL_SHARE * np.ptp(loss)
    first = last = best
    while first > 0 and near[first - 1]:
        first -= 1
    while last < len(loss) - 1 and near[last + 1]:
        last += 1
    centre = int(epochs[(first + last) // 2])
    window = [int(epochs[first]), int(epochs[last])]
    reason = Reason("sweet_spot.plateau.short", {"first": window[0], "last": window[1], "count": len(loss)})
    return Vote(centre, SHORT_RUN_CONFIDENCE, reason, {"window": window, "tested": False})


def _conclude(found: _Examined, trend_q: float, change_q: float, significance: float) -> Vote:
    evidence: Evidence = {
        "tested": True,
        "noise": found.noise,
        "trend": {
            "test": found.trend.test,
            "p_value": found.trend.p_value,
            "adjusted": trend_q,
            "slope": found.trend.slope,
        },
        "cusum": {
            "statistic": found.change.statistic,
            "epoch": found.change.epoch,
            "p_value": found.change.p_value,
            "adjusted": change_q,
        },
    }
    has_trend = trend_q <= significance
    if change_q > significance:
        key = "sweet_spot.plateau.nothing_visible"
        if has_trend:
            falls = found.trend.slope < 0
            key = "sweet_spot.plateau.steady_fall" if falls else "sweet_spot.plateau.steady_rise"
        return abstain(key, evidence=evidence)
    stretches = straight_stretches(found.epochs, found.loss, found.noise)
    evidence["change_points"] = [int(found.epochs[start]) for start, _ in stretches[1:]]
    best = _flattest(found, stretches, significance)
    if best is None:
        still = has_trend and found.trend.slope < 0 and int(found.loss.argmin()) == len(found.loss) - 1
        key = "sweet_spot.plateau.still_improving" if still else "sweet_spot.plateau.none"
        return abstain(key, evidence=evidence)
    start, end, flatness = best
    window = [int(found.epochs[start]), int(found.epochs[end - 1])]
    evidence["window"] = window
    centre = int(found.epochs[(start + end - 1) // 2])
    reason = Reason("sweet_spot.plateau.found", {"first": window[0], "last": window[1], "centre": centre})
    return Vote(centre, flatness, reason, evidence)


def _line(epochs: Epochs, values: Numbers) -> tuple[float, Numbers]:
    """Least-squares slope per epoch, and the line's values."""
    time = epochs - epochs.mean()
    slope = float(time @ values / (time @ time))
    return slope, np.asarray(values.mean() + slope * time, dtype=np.float64)


def _has_no_trend(loss: Numbers, significance: float) -> bool:
    """Mann–Kendall inside the stretch. Change points are known to an epoch or so, so its two ends are left out."""
    inner = loss[1:-1] if len(loss) >= _MIN_IN_PLATEAU + 2 else loss
    return trend.mann_kendall(inner).p_value > significance


def _slope_error(epochs: Epochs, deviation: float) -> float:
    """Standard error of a least-squares slope under noise of this standard deviation."""
    return deviation / math.sqrt(float(((epochs - epochs.mean()) ** 2).sum()))


def _flattest(found: _Examined, stretches: list[tuple[int, int]], significance: float) -> tuple[int, int, float] | None:
    """The longest plateau as (first index, one past the last, confidence); None: there is none.

    Neighbouring stretches are tried together too: a cut that noise made inside a plateau must not halve it. They are
    contiguous by construction; stretches with others between them are never joined.
    """
    fitted = np.concatenate([_line(found.epochs[a:b], found.loss[a:b])[1] for a, b in stretches])
    span = float(np.ptp(fitted))
    if span <= 0.0:
        return None
    largest_flat_slope = FLAT_SHARE * span / float(found.epochs[-1] - found.epochs[0])
    tolerance = LEVEL_SHARE * span
    # A shallow valley has no trend as a whole, but its sides have: a part that clearly slopes belongs to no plateau.
    # Short parts are what autocorrelated noise looks like; the tolerance of the level bounds them.
    sloping = [
        b - a >= _MIN_TO_SLOPE
        and abs(_line(found.epochs[a:b], found.loss[a:b])[0])
        - _ONE_SIDED_95 * _slope_error(found.epochs[a:b], found.noise)
        > largest_flat_slope
        for a, b in stretches
    ]
    best: tuple[int, int, float] | None = None
    for position, (start, _) in enumerate(stretches):
        for further, (_, end) in enumerate(stretches[position:], start=position):
            if sloping[further]:
                break
            if end - start < _MIN_IN_PLATEAU or (best is not None and end - start <= best[1] - best[0]):
                continue
            epochs, loss = found.epochs[start:end], found.loss[start:end]
            level = float(loss.mean())
            if level > fitted.min() + tolerance or np.abs(fitted[start:end] - level).max() > tolerance:
                continue
            slope, line = _line(epochs, loss)
            deviation = max(found.noise, math.sqrt(float(((loss - line) ** 2).sum()) / (len(loss) - 2)))
            bound = abs(slope) + _ONE_SIDED_95 * _slope_error(epochs, deviation)
            if bound <= largest_flat_slope and _has_no_trend(loss, significance):
                best = (start, end, 1.0 - bound / largest_flat_slope)
    return best


PLATEAU = Technique(
    name="plateau",
    votes=lambda curves, config: votes(curves, config.significance),
    family=PREDICTIONS,
    drawn_as="plateau",
    marker="s",
    colour="#e69f00",
)
