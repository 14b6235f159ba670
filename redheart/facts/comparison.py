"""Scores of a model beside the constant predictor's and the baseline's, and what the baseline is; files call it ``rival``."""

from __future__ import annotations

from typing import Literal

import msgspec

#: Where the model stands by its skill. ``level``: the two can't be told apart.
Standing = Literal["above", "below", "level"]


class Estimate(msgspec.Struct, frozen=True):
    """A number and its interval; ``low`` and ``high`` are None where too little is scored to tell."""

    value: float
    low: float | None
    high: float | None


class Metric(msgspec.Struct, frozen=True):
    """One metric of one task; ``difference`` is the model's less the baseline's."""

    higher_is_better: bool
    model: Estimate
    constant: float | None
    baseline: Estimate | None = msgspec.field(name="rival")
    difference: Estimate | None


class TaskComparison(msgspec.Struct, frozen=True):
    """A task's metrics by name, ``skill`` first. ``standing`` None: there is nothing, or nobody, to compare."""

    metrics: dict[str, Metric]
    standing: Standing | None


class Comparison(msgspec.Struct, frozen=True):
    """A model on a split.

    Attributes:
        mean_skill: the mean of the tasks' skills, over those that the baseline has too where there is a baseline.
        standing: by that mean.
        in_sample: both were fitted to these very situations, so nothing follows from who is better.
    """

    tasks: dict[str, TaskComparison]
    mean_skill: Metric | None
    standing: Standing | None
    confidence: float
    bootstrap_samples: int
    in_sample: bool


class FittedTask(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a baseline is for one task, or why it is nothing.

    Attributes:
        absent: why nothing was fitted; None: something was.
        kind: ``logistic`` with one ``penalty``, or ``ridge`` with ``penalties`` by dimension, None where nothing was fitted.
        rows: training situations that it was fitted to.
    """

    absent: str | None = None
    kind: Literal["logistic", "ridge"] | None = None
    rows: int | None = None
    penalty: float | None = None
    penalties: dict[str, float | None] | None = None


class BaselineDescription(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a baseline is, or why there is none.

    Attributes:
        features: the blocks that it saw.
        trained_on: training situations.
        tasks: what was fitted for each.
        absent: why there is none at all; None: there is one.
    """

    features: tuple[str, ...] = ()
    trained_on: int = 0
    tasks: dict[str, FittedTask] = {}
    absent: str | None = None
