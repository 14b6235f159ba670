"""Technique 2: the epoch at which a module's own task was predicted best on ``choose``.

The highest of many noisy numbers is partly luck, and a later epoch has fitted more. So the skill is averaged over
three epochs, and the rule is that of one standard error (Breiman, Friedman, Olshen & Stone 1984, *Classification and
Regression Trees*, §3.4.3): the earliest epoch whose average is within one standard error of the best average, the
error being that of the epoch-to-epoch noise. Where the noise can't be estimated (fewer than seven epochs), or the
skill rises at every step, it is the best epoch itself.

On curves with a known best (peaked, saturating, rising; 12–60 epochs; noise 5–10 % of the range) the average takes the
true skill given up by the rule from 2–11 % to 0–7 % of the range. Taking the highest number gives up less where skill
only rises and more where it peaks: this is the price of the earlier epoch.

Confidence: ``noise.certainty`` of the skill (the share of the epochs that are clearly worse, times the share of the
variance that is not noise); a tenth of it where the best is no better than the constant predictor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from redheart.storage import Scalar
from redheart.sweet_spot.choice import Reason, Vote, abstain
from redheart.sweet_spot.curves import ModuleCurve, Numbers, is_constant, measured
from redheart.sweet_spot.noise import certainty, noise_level
from redheart.sweet_spot.techniques.technique import PREDICTIONS, Technique

#: A module that never beats the constant predictor has learnt nothing whose peak would be worth much.
WITHOUT_SKILL = 0.1
_AVERAGED_EPOCHS = 3


def averaged(skill: Numbers) -> Numbers:
    """Mean over each epoch and its neighbours, of which the first and the last have one; shape ``(epochs,)``."""
    kernel = np.ones(_AVERAGED_EPOCHS)
    return np.asarray(np.convolve(skill, kernel, "same") / np.convolve(np.ones(len(skill)), kernel, "same"))


def votes(curves: Mapping[str, ModuleCurve]) -> dict[str, Vote]:
    """The vote for each module."""
    return {module: _vote(curve) for module, curve in curves.items()}


def _vote(curve: ModuleCurve) -> Vote:
    epochs, skill = measured(curve, curve.skill)
    if len(skill) == 0:
        return abstain("sweet_spot.task.no_metric")
    if len(skill) < 2:
        return abstain("sweet_spot.too_few", count=len(skill))
    if is_constant(skill):
        return abstain("sweet_spot.task.constant")
    best = int(skill.argmax())
    rising = bool((np.diff(skill) > 0).all())
    noise = noise_level(skill)
    confidence = certainty(skill)
    if noise is None:
        chosen, key = best, "sweet_spot.task.few"
    else:
        if not rising:
            level = averaged(skill)
            best = int(level.argmax())
            error = noise / math.sqrt(_AVERAGED_EPOCHS if 0 < best < len(skill) - 1 else _AVERAGED_EPOCHS - 1)
            within = level >= level[best] - error
            chosen = int(np.flatnonzero(within)[0])
        else:
            chosen = best
        key = "sweet_spot.task.best" if chosen == best else "sweet_spot.task.parsimony"
    if rising:
        key = "sweet_spot.task.rising"
    if skill.max() <= 0.0:
        confidence *= WITHOUT_SKILL
        key = "sweet_spot.task.without_skill"
    values: dict[str, Scalar] = {
        "epoch": int(epochs[chosen]),
        "skill": float(skill[chosen]),
        "best_epoch": int(epochs[best]),
        "best_skill": float(skill[best]),
    }
    return Vote(int(epochs[chosen]), confidence, Reason(key, values), {**values, "noise": noise})


TASK_METRICS = Technique(
    name="task_metrics",
    votes=lambda curves, config: votes(curves),
    family=PREDICTIONS,
    drawn_as="task metrics",
    marker="^",
    colour="#0072b2",
)
