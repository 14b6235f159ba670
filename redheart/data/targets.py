"""Targets: the annotations as arrays, one per task, with a mask of what was annotated."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from redheart.data.schema import FURTHER_TASKS, Situation
from redheart.tasks import EMOTIONS, LABELS, TASK_BY_NAME, TASKS

#: Mean squared deviations up to this are no variation, nor is such an error of a constant predictor: annotations are given in hundredths,
#: and this is the variance of rounding to them. What averages, sums (1.0000000000000002) and float32 are off by is 1e-12 at most; one
#: situation in a thousand that is off by a tenth stays above.
DUST = 0.01**2 / 12


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


_WIDTHS = {
    "emotion": len(EMOTIONS),
    "votes": len(LABELS),
    "label": len(LABELS),
    "regret": 1,
    **{name: len(TASK_BY_NAME[name].dimensions) for name in ("bentham", "surd")},
    **{task.name: len(task.dimensions) for task in FURTHER_TASKS},
}
_NOTHING = {name: (math.nan,) * width for name, width in _WIDTHS.items()}
_ONLY = {label: tuple(float(label == one) for one in LABELS) for label in LABELS}
_BENTHAM, _SURD = TASK_BY_NAME["bentham"].dimensions, TASK_BY_NAME["surd"].dimensions


class Annotations:
    """Annotations of situations that are added one by one, as plain numbers: nothing else of a situation is kept."""

    def __init__(self) -> None:
        self._numbers = array("d")

    def add(self, one: Situation) -> None:
        """Takes the next situation of the dataset."""
        votes, bentham, surd = one.label_scores, one.bentham_scores, one.surd_metrics
        self._numbers.extend(
            (
                *(_NOTHING["emotion"] if one.emotions is None else one.emotions),
                *(_NOTHING["votes"] if votes is None else [votes.get(label, 0.0) for label in LABELS]),
                *(_NOTHING["label"] if one.label is None else _ONLY[one.label]),
                math.nan if one.regret_factor is None else one.regret_factor,
                *(_NOTHING["bentham"] if bentham is None else [bentham.get(name, math.nan) for name in _BENTHAM]),
                *(_NOTHING["surd"] if surd is None else [surd.get(name, math.nan) for name in _SURD]),
            )
        )
        for task in FURTHER_TASKS:
            given, absent = one.further.get(task.name), 0.0 if task.is_distribution else math.nan
            self._numbers.extend(
                _NOTHING[task.name] if given is None else [given.get(name, absent) for name in task.dimensions]
            )

    def _columns(self) -> dict[str, NDArray[np.float64]]:
        """What was annotated, ``(situations, width)`` each, NaN where nothing was."""
        table = np.frombuffer(self._numbers.tobytes(), np.float64).reshape(-1, sum(_WIDTHS.values()))
        ends = np.cumsum(list(_WIDTHS.values()))
        return dict(zip(_WIDTHS, np.split(table, ends[:-1], axis=1), strict=True))

    def targets(self) -> Targets:
        """Targets of all that were added.

        Emotions are rescaled to sum to 1. The verdict is the share of the votes where there are votes, else the one label.
        """
        columns = self._columns()
        votes, label = columns["votes"], columns["label"]
        numbers = {
            "emotion": _distributions(columns["emotion"]),
            **{name: columns[name] for name in ("bentham", "regret", "surd")},
            "verdict": _distributions(np.where(np.isnan(votes), label, votes)),
            "votes": _distributions(votes),
            **{
                task.name: _distributions(columns[task.name]) if task.is_distribution else columns[task.name]
                for task in FURTHER_TASKS
            },
        }
        mask = {name: ~np.isnan(numbers[name]) for name in target_sizes()}
        values = {name: np.where(known, numbers[name], 0.0).astype(np.float32) for name, known in mask.items()}
        return Targets(values, mask)

    def outvoted(self) -> NDArray[np.int64]:
        """Positions of situations whose label is not among the highest-voted, which is no fault: the votes are the target."""
        columns = self._columns()
        votes, label = columns["votes"], columns["label"]
        both = ~np.isnan(votes[:, 0]) & ~np.isnan(label[:, 0])
        own = (votes[both] * label[both]).sum(axis=1)
        positions: NDArray[np.int64] = np.flatnonzero(both)[own < votes[both].max(axis=1, initial=0.0)]
        return positions


def _distributions(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights ``(situations, dimensions)`` that sum to 1 in each row; rows of NaN stay."""
    largest = weights.max(axis=1, keepdims=True, initial=0.0)  # by the largest first: no overflow
    shares = weights / np.where(largest > 0, largest, 1.0)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float64)


def varying(values: NDArray[np.floating[Any]], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """``(dimensions,)`` True where what is annotated differs by more than rounding.

    Args:
        values, mask: ``(situations, dimensions)``, True where annotated.
    """
    counts = np.maximum(mask.sum(axis=0), 1)
    mean = np.where(mask, values, 0.0).sum(axis=0, dtype=np.float64) / counts
    spread = (np.where(mask, values - mean, 0.0) ** 2).sum(axis=0) / counts
    return np.asarray(spread > DUST, np.bool_)


def build_targets(situations: Iterable[Situation]) -> Targets:
    """Targets of ``situations``, in their order."""
    annotations = Annotations()
    for one in situations:
        annotations.add(one)
    return annotations.targets()
