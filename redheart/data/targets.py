"""The annotations as arrays: one a task, with a mask of what was annotated."""

from __future__ import annotations

from collections.abc import Sequence
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


def build_targets(situations: Sequence[Situation]) -> Targets:
    """Targets of ``situations``, in their order.

    Emotions are rescaled to sum to 1. The verdict is the share of the votes where there are votes, else the one label.
    """
    sizes = {task.name: len(task.dimensions) for task in TASKS} | {"votes": len(LABELS)}
    values = {name: np.zeros((len(situations), size), np.float32) for name, size in sizes.items()}
    mask = {name: np.zeros((len(situations), size), np.bool_) for name, size in sizes.items()}

    def distribution(name: str, row: int, weights: Sequence[float]) -> None:
        exact = np.asarray(weights, np.float64)
        values[name][row] = exact / exact.max() / (exact / exact.max()).sum()  # by the largest first: no overflow
        mask[name][row] = True

    for row, situation in enumerate(situations):
        if situation.emotions is not None:
            distribution("emotion", row, situation.emotions)
        if situation.label_scores is not None:
            votes = [situation.label_scores.get(label, 0.0) for label in LABELS]
            distribution("verdict", row, votes)
            distribution("votes", row, votes)
        elif situation.label is not None:
            distribution("verdict", row, [float(label == situation.label) for label in LABELS])
        if situation.regret_factor is not None:
            values["regret"][row] = situation.regret_factor
            mask["regret"][row] = True
        for name, scores in (("bentham", situation.bentham_scores), ("surd", situation.surd_metrics)):
            for column, dimension in enumerate(TASK_BY_NAME[name].dimensions):
                if scores is not None and dimension in scores:
                    values[name][row, column] = scores[dimension]
                    mask[name][row, column] = True
    return Targets(values, mask)
