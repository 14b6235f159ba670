"""Technique 4: the epoch at which gradients flowed best through a module.

Three signs, each 0..1 per epoch, multiplied and rooted (geometric mean), because one sick sign is enough to be ill:

- norm ratio: the mean gradient norm over its own running median; r or 1/r, whichever is smaller.
- update ratio: the size of an update against the size of the weights, best at 1e-3 and worth nothing two decades away
  (a rule of thumb: Karpathy, CS231n notes, *Neural Networks Part 3*, "Ratio of weights:updates"). It is about one
  step, and the record is about one epoch: the steps of an epoch are taken to point in unrelated directions, so that
  their sum grows with the square root of their number.
- live units: the share of weight rows that changed.

Health tells an epoch that went wrong from one that did not. It can't tell which of two healthy epochs predicts better.
So its confidence – the distance between the healthiest and the middle epoch – is halved, and where all epochs are
about equally healthy it abstains.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from redheart.storage import Scalar
from redheart.sweet_spot.choice import Evidence, Reason, Vote, abstain
from redheart.sweet_spot.curves import ModuleCurve, Numbers
from redheart.sweet_spot.techniques.technique import Technique

BEST_UPDATE_RATIO = 1e-3
DECADES_TO_WORTHLESS = 2.0
_MEDIAN_EPOCHS = 5
ALIKE = 0.05
HIGHEST_CONFIDENCE = 0.5


def norm_ratio_score(gradient_mean: Numbers) -> Numbers:
    """Closeness of the gradient norm to the median of its last five epochs (this one included); shape ``(epochs,)``.

    An epoch without any gradient scores 0.
    """
    scores = np.zeros(len(gradient_mean))
    for position, norm in enumerate(gradient_mean):
        usual = float(np.median(gradient_mean[max(0, position - _MEDIAN_EPOCHS + 1) : position + 1]))
        if norm > 0.0 and usual > 0.0:
            scores[position] = min(norm / usual, usual / norm)
    return scores


def update_ratio_score(relative_update: Numbers, steps: Numbers) -> Numbers:
    """Closeness in decades of an update's relative size to 1e-3; NaN where it was not measured; shape ``(epochs,)``."""
    with np.errstate(divide="ignore", invalid="ignore"):
        per_step = relative_update / np.sqrt(np.maximum(steps, 1.0))
        away = np.abs(np.log10(per_step / BEST_UPDATE_RATIO))
    return np.asarray(np.where(np.isnan(relative_update), np.nan, np.maximum(0.0, 1.0 - away / DECADES_TO_WORTHLESS)))


def health(curve: ModuleCurve) -> Numbers:
    """Health of each epoch, 0..1, over the signs that were measured in it; shape ``(epochs,)``."""
    signs = np.stack(
        [
            norm_ratio_score(curve.gradient_mean),
            update_ratio_score(curve.relative_update, curve.steps),
            1.0 - curve.dead_fraction,
        ]
    )
    there = np.isfinite(signs)
    product = np.where(there, np.clip(signs, 0.0, 1.0), 1.0).prod(axis=0)
    return np.asarray(product ** (1.0 / there.sum(axis=0)), dtype=np.float64)


def votes(curves: Mapping[str, ModuleCurve]) -> dict[str, Vote]:
    """The vote for each module."""
    return {module: _vote(curve) for module, curve in curves.items()}


def _vote(curve: ModuleCurve) -> Vote:
    scores = health(curve)
    missing = [
        name
        for name, values in (("relative", curve.relative_update), ("dead_fraction", curve.dead_fraction))
        if not np.isfinite(values).all()
    ]
    evidence: Evidence = {"health": [round(float(score), 6) for score in scores], "not_measured_everywhere": missing}
    if len(scores) < 2:
        return abstain("sweet_spot.too_few", evidence=evidence, count=len(scores))
    if not curve.gradient_mean.any():
        return abstain("sweet_spot.gradient.none", evidence=evidence)
    best = int(scores.argmax())
    lead = float(scores[best] - np.median(scores))
    if float(np.ptp(scores)) < ALIKE:
        return abstain("sweet_spot.gradient.alike", evidence=evidence, lowest=float(scores.min()))
    epoch = int(curve.epochs[best])
    worst = int(scores.argmin())
    values: dict[str, Scalar] = {
        "epoch": epoch,
        "health": float(scores[best]),
        "worst_epoch": int(curve.epochs[worst]),
        "worst_health": float(scores[worst]),
    }
    return Vote(epoch, HIGHEST_CONFIDENCE * lead, Reason("sweet_spot.gradient.healthiest", values), evidence)


GRADIENT_HEALTH = Technique(
    name="gradient_health",
    votes=lambda curves, config: votes(curves),
    family="gradients",
    drawn_as="gradient health",
    marker="v",
    colour="#cc79a7",
)
