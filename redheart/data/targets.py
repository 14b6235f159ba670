"""Targets: the annotations as arrays, one a task, with a mask of what was annotated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from redheart.data.schema import Situation
from redheart.tasks import LABELS, TASK_BY_NAME, TASKS


@dataclass(frozen=True, slots=True)
class Targets:
    """What is to be predicted.

    Attributes:
        values: name -> float32 ``(situations, dimensions)``, 0 where the mask is False. The names are the five tasks
            and ``votes``: the verdict again, but only where there are ``label_scores``.
        mask: the same shape, True where annotated. A distribution (emotion, verdict, votes) is annotated as a whole.
    """

    values: dict[str, NDArray[np.float32]]
    mask: dict[str, NDArray[np.bool_]]


def target_sizes() -> dict[str, int]:
    """Dimensions of each target: the five tasks and ``votes``."""
    return {task.name: len(task.dimensions) for task in TASKS} | {"votes": len(LABELS)}


def build_targets(situations: Sequence[Situation]) -> Targets:
    """Targets of ``situations``, in their order.

    Emotions are rescaled to sum to 1. The verdict is the share of the votes where there are votes, else the one label.
    """
    sizes = target_sizes()
    targets = Targets(
        {name: np.zeros((len(situations), size), np.float32) for name, size in sizes.items()},
        {name: np.zeros((len(situations), size), np.bool_) for name, size in sizes.items()},
    )
    _put_distributions(targets, "emotion", {row: one.emotions for row, one in enumerate(situations) if one.emotions})
    votes = {
        row: [one.label_scores.get(label, 0.0) for label in LABELS]
        for row, one in enumerate(situations)
        if one.label_scores is not None
    }
    _put_distributions(targets, "votes", votes)
    _put_distributions(targets, "verdict", {**_certain(situations), **votes})
    _put_scores(targets, "regret", [None if one.regret_factor is None else (one.regret_factor,) for one in situations])
    _put_scores(targets, "bentham", [_by_dimension("bentham", one.bentham_scores) for one in situations])
    _put_scores(targets, "surd", [_by_dimension("surd", one.surd_metrics) for one in situations])
    return targets


def _certain(situations: Sequence[Situation]) -> dict[int, list[float]]:
    """The one label, as a distribution, of each that has no votes."""
    return {
        row: [float(label == one.label) for label in LABELS]
        for row, one in enumerate(situations)
        if one.label is not None and one.label_scores is None
    }


def _put_distributions(targets: Targets, name: str, weights: Mapping[int, Sequence[float]]) -> None:
    """Writes the weights of each row, which are rescaled to sum to 1."""
    if not weights:
        return
    rows = np.fromiter(weights, np.int64, len(weights))
    exact = np.array(list(weights.values()), np.float64)
    exact /= exact.max(axis=1, keepdims=True)  # by the largest first: no overflow
    targets.values[name][rows] = exact / exact.sum(axis=1, keepdims=True)
    targets.mask[name][rows] = True


def _by_dimension(task: str, scores: Mapping[str, float] | None) -> list[float] | None:
    """The scores in the order of the task's dimensions, NaN where there is none."""
    return None if scores is None else [scores.get(name, np.nan) for name in TASK_BY_NAME[task].dimensions]


def _put_scores(targets: Targets, name: str, scores: Sequence[Sequence[float] | None]) -> None:
    """Writes each row's scores, NaN for what was not annotated."""
    absent = (np.nan,) * targets.values[name].shape[1]
    found = np.array([absent if one is None else one for one in scores], np.float64).reshape(targets.values[name].shape)
    known = ~np.isnan(found)
    targets.values[name][known] = found[known]
    targets.mask[name][known] = True


def joined(parts: Sequence[Targets]) -> Targets:
    """The targets of several datasets, or of parts of one, behind each other."""
    return Targets(
        {name: np.concatenate([one.values[name] for one in parts]) for name in target_sizes()},
        {name: np.concatenate([one.mask[name] for one in parts]) for name in target_sizes()},
    )
