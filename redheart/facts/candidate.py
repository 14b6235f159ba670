"""Scores of a crossover's candidate on one split, and how it differs from the last epoch."""

from __future__ import annotations

import msgspec

from redheart.facts.scores import TaskScores


class Difference(msgspec.Struct, frozen=True):
    """Mean difference of item losses, candidate less reference (a crossover's is the last epoch): below 0, the candidate is better.

    Attributes:
        low, high: percentile interval at ``confidence``.
        guarded_low, guarded_high: the same at a level widened for the number of candidates that were looked at
            (Bonferroni): the best of several is better than it should be by having been picked.
        probability_better: share of the resamples in which the candidate's mean loss is lower; ties count half.
    """

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
