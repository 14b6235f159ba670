"""The facts that training takes from situations: ids, splits and targets, gathered one by one, the texts let go.

A dataset's texts and annotations as objects take ten times the memory of what training needs of them, so they are never held
together: situations go in as they are read, arrays come out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from redheart.data.schema import Situation
from redheart.data.splits import SPLITS, Split, split_of
from redheart.data.targets import Targets, build_targets, joined

#: Situations that are turned into arrays at once: enough for numpy, little enough to hold.
_AT_ONCE = 512
_NUMBER = {split: number for number, split in enumerate(SPLITS)}


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """What follows from a dataset's situations, in their order.

    Attributes:
        ids: one a situation.
        splits: ``(situations,)`` int8, the place of each one's split in ``SPLITS``.
        has_target: ``(situations,)`` bool, whether it trains or scores anything.
        targets: values and masks a task.
        outvoted: how many labels are not the highest-voted.
        first_outvoted: the id of the first of those, "" without one.
    """

    ids: list[str]
    splits: NDArray[np.int8]
    has_target: NDArray[np.bool_]
    targets: Targets
    outvoted: int = 0
    first_outvoted: str = ""

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, situations: Iterable[Situation]) -> DatasetFacts:
        """The facts of ``situations``, each of which is needed only while it is looked at."""
        gathering = FactsGathering()
        for situation in situations:
            gathering.add(situation)
        return gathering.facts()

    def indices(self, split: Split) -> NDArray[np.int64]:
        """Positions of the situations of ``split``, in order."""
        return np.flatnonzero(self.splits == _NUMBER[split]).astype(np.int64)

    @property
    def counts(self) -> dict[Split, int]:
        """Situations a split."""
        return {split: int(np.count_nonzero(self.splits == number)) for split, number in _NUMBER.items()}

    @property
    def counts_with_target(self) -> dict[Split, int]:
        """Situations a split that have any target."""
        chosen = self.splits[self.has_target]
        return {split: int(np.count_nonzero(chosen == number)) for split, number in _NUMBER.items()}


def has_target(situation: Situation) -> bool:
    """Whether it trains or scores anything."""
    targets = (situation.emotions, situation.regret_factor, situation.label, situation.label_scores)
    return any(target is not None for target in targets) or bool(situation.bentham_scores or situation.surd_metrics)


def is_outvoted(situation: Situation) -> bool:
    """Whether its label is not among the highest-voted, which is no fault: the votes are the target."""
    votes = situation.label_scores
    if not votes or situation.label is None:
        return False
    return votes.get(situation.label, 0.0) < max(votes.values())


class FactsGathering:
    """Facts of situations that are added one by one; a few hundred are held at most."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._splits = bytearray()
        self._has_target = bytearray()
        self._waiting: list[Situation] = []
        self._targets: list[Targets] = []
        self._outvoted = 0
        self._first_outvoted = ""

    def add(self, situation: Situation) -> None:
        """Takes the next situation of the dataset."""
        self._ids.append(situation.id)
        self._splits.append(_NUMBER[split_of(situation.text)])
        self._has_target.append(has_target(situation))
        if is_outvoted(situation):
            self._outvoted += 1
            self._first_outvoted = self._first_outvoted or situation.id
        self._waiting.append(situation)
        if len(self._waiting) >= _AT_ONCE:
            self._turn()

    def _turn(self) -> None:
        self._targets.append(build_targets(self._waiting))
        self._waiting.clear()

    def facts(self) -> DatasetFacts:
        """All that was gathered."""
        if self._waiting or not self._targets:
            self._turn()
        splits = np.frombuffer(bytes(self._splits), np.int8)
        with_target = np.frombuffer(bytes(self._has_target), np.bool_)
        return DatasetFacts(self._ids, splits, with_target, joined(self._targets), self._outvoted, self._first_outvoted)
