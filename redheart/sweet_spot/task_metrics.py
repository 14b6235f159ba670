"""Technique 2: the epoch at which a module's own task was predicted best on ``choose``.

The highest of many noisy numbers is partly luck, and a later epoch has fitted more. So the rule is that of one
standard error (Breiman, Friedman, Olshen & Stone 1984, *Classification and Regression Trees*, §3.4.3): the earliest
epoch whose skill is within one deviation of the epoch-to-epoch noise of the best. Where the noise can't be estimated
(fewer than seven epochs), or the skill rises at every step, it is the best epoch itself.

Confidence: ``noise.certainty`` of the skill (the share of the epochs that are clearly worse, times the share of the
variance that is not noise); a tenth of it where the best is no better than the constant predictor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from redheart.sweet_spot.choice import Reason, Vote, abstain
from redheart.sweet_spot.curves import ModuleCurve, is_constant, measured
from redheart.sweet_spot.noise import certainty, noise_level

TECHNIQUE = "task_metrics"
#: A module that never beats the constant predictor has learnt nothing whose peak would be worth much.
WITHOUT_SKILL = 0.1


def votes(curves: Mapping[str, ModuleCurve]) -> dict[str, Vote]:
    """The vote for each module."""
    return {module: _vote(curve) for module, curve in curves.items()}


def _vote(curve: ModuleCurve) -> Vote:
    epochs, skill = measured(curve, curve.skill)
    if len(skill) == 0:
        return abstain(TECHNIQUE, "sweet_spot.task.no_metric")
    if len(skill) < 2:
        return abstain(TECHNIQUE, "sweet_spot.too_few", count=len(skill))
    if is_constant(skill):
        return abstain(TECHNIQUE, "sweet_spot.task.constant")
    best = int(skill.argmax())
    rising = bool((np.diff(skill) > 0).all())
    noise = noise_level(skill)
    evidence: dict[str, Any] = {"best_epoch": int(epochs[best]), "best_skill": float(skill[best]), "noise": noise}
    confidence = certainty(skill)
    if noise is None:
        chosen, key = best, "sweet_spot.task.few"
    else:
        chosen = best if rising else int(np.flatnonzero(skill >= skill[best] - noise)[0])
        key = "sweet_spot.task.best" if chosen == best else "sweet_spot.task.parsimony"
    if rising:
        key = "sweet_spot.task.rising"
    if skill[best] <= 0.0:
        confidence *= WITHOUT_SKILL
        key = "sweet_spot.task.without_skill"
    evidence["skill"] = float(skill[chosen])
    values = {
        "epoch": int(epochs[chosen]),
        "skill": float(skill[chosen]),
        "best_epoch": int(epochs[best]),
        "best_skill": float(skill[best]),
    }
    return Vote(TECHNIQUE, int(epochs[chosen]), confidence, Reason(key, values), evidence)
