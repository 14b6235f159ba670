"""Technique 3: multi-criteria decision analysis – a weighted sum of four criteria, each scaled to 0..1 over the epochs.

Loss 30 %, task skill 40 %, stability 15 %, gradient health 15 % (the weights come from the settings). A criterion that
was not measured or is the same in all epochs can't prefer one: it contributes nothing, and the weights of the others
are scaled to sum to 1, which the evidence records. Without loss and task there is nothing to be good at: abstention.

Confidence: ``noise.certainty`` of the weighted sum (the share of the epochs that are clearly worse, times the share of
its variance that is not noise), times the share of the weight that took part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from redheart.config.schema import SweetSpotConfig
from redheart.storage import Scalar
from redheart.sweet_spot.choice import Evidence, Reason, Vote, abstain
from redheart.sweet_spot.curves import ModuleCurve, Numbers, is_constant, neighbourhoods
from redheart.sweet_spot.noise import certainty
from redheart.sweet_spot.techniques.gradient_health import health
from redheart.sweet_spot.techniques.technique import PREDICTIONS, Technique

CRITERIA = ("loss", "task", "stability", "gradient")


@dataclass(frozen=True, slots=True)
class Scores:
    """``total``: shape ``(epochs,)``, NaN where a criterion that takes part is missing; ``weights`` sum to 1."""

    total: Numbers
    weights: dict[str, float]
    left_out: tuple[str, ...]
    covered: float

    @property
    def are_about_prediction(self) -> bool:
        """Whether something that they weigh says how well the module predicts."""
        return not {"loss", "task"}.isdisjoint(self.weights)


def stability(loss: Numbers) -> Numbers:
    """Minus the standard deviation of the loss over the up to five epochs around each one; shape ``(epochs,)``."""
    result = np.full(len(loss), np.nan)
    for position, around in neighbourhoods(loss):
        if len(around) >= 2:
            result[position] = -around.std()
    return result


def weighted_scores(curve: ModuleCurve, config: SweetSpotConfig) -> Scores:
    """The weighted sum of the criteria that can prefer an epoch, each min–max normalised over the epochs.

    Args:
        curve: of one module.
        config: gives the four weights.
    """
    wanted = dict(
        zip(
            CRITERIA,
            (config.loss_weight, config.task_weight, config.stability_weight, config.gradient_weight),
            strict=True,
        )
    )
    larger_is_better = {
        "loss": -curve.loss,
        "task": curve.skill,
        "stability": stability(curve.loss),
        "gradient": health(curve),
    }
    takes_part = {name: values for name, values in larger_is_better.items() if wanted[name] > 0 and _prefers(values)}
    covered = sum(wanted[name] for name in takes_part)
    weights = {name: wanted[name] / covered for name in takes_part}
    total = np.zeros(len(curve.epochs))
    for name, values in takes_part.items():
        lowest = np.nanmin(values)
        total += weights[name] * (values - lowest) / (np.nanmax(values) - lowest)
    left_out = tuple(name for name in CRITERIA if name not in takes_part)
    return Scores(total, weights, left_out, covered)


def _prefers(values: Numbers) -> bool:
    there = values[np.isfinite(values)]
    return len(there) >= 2 and not is_constant(there)


def votes(curves: Mapping[str, ModuleCurve], config: SweetSpotConfig) -> dict[str, Vote]:
    """The vote for each module."""
    return {module: _vote(curve, config) for module, curve in curves.items()}


def _vote(curve: ModuleCurve, config: SweetSpotConfig) -> Vote:
    if len(curve.epochs) < 2:
        return abstain("sweet_spot.too_few", count=len(curve.epochs))
    scores = weighted_scores(curve, config)
    evidence: Evidence = {
        "weights": {name: round(weight, 6) for name, weight in scores.weights.items()},
        "left_out": list(scores.left_out),
        "scores": [round(float(score), 6) if np.isfinite(score) else None for score in scores.total],
    }
    if not scores.are_about_prediction:
        return abstain("sweet_spot.mcda.nothing_to_compare", evidence=evidence)
    if not np.isfinite(scores.total).any():
        return abstain("sweet_spot.mcda.never_together", evidence=evidence)
    best = int(np.nanargmax(scores.total))
    epoch = int(curve.epochs[best])
    there = scores.total[np.isfinite(scores.total)]
    sure = 0.0 if is_constant(there) else certainty(there) * scores.covered
    key = "sweet_spot.mcda.renormalised" if scores.left_out else "sweet_spot.mcda.best"
    shares = ", ".join(f"{name} {weight:.0%}" for name, weight in scores.weights.items())
    values: dict[str, Scalar] = {
        "epoch": epoch,
        "score": float(scores.total[best]),
        "weights": shares,
        "left_out": ", ".join(scores.left_out),
    }
    return Vote(epoch, sure, Reason(key, values), evidence)


MCDA = Technique(
    name="mcda",
    votes=votes,
    family=PREDICTIONS,
    drawn_as="multi-criteria",
    marker="D",
    colour="#009e73",
)
