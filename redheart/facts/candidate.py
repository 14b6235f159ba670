"""Scores of a crossover's candidate on one split, and how it differs from the last epoch."""

from __future__ import annotations

import msgspec

from redheart.facts.scores import TaskScores


class Difference(msgspec.Struct, frozen=True):
    """Item losses less the last epoch's on the same situations; see ``bootstrap.PairedDifference``."""

    mean: float
    low: float
    high: float
    guarded_low: float
    guarded_high: float
    confidence: float
    probability_better: float
    count: int


class TaskSkill(msgspec.Struct, frozen=True):
    """A task's declared skill with its interval, beside all its other metrics.

    Attributes:
        skill: 0 is the constant predictor fitted on the training split; None where nothing could be scored.
    """

    skill: float | None
    low: float | None
    high: float | None
    metrics: TaskScores = TaskScores()


class Score(msgspec.Struct, frozen=True):
    """One candidate on one split.

    Attributes:
        loss: mean over situations of the heads' weighted loss: the loss of what is served. It decides.
        total_loss: the training loss, auxiliary terms included.
        difference: to the last epoch; None for the last epoch itself and for what is identical to it.
    """

    count: int
    loss: float | None
    total_loss: float | None
    mean_skill: float | None
    difference: Difference | None
    tasks: dict[str, TaskSkill]
