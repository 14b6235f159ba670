"""The facts that training takes from situations: ids, splits and targets, gathered one by one, the texts let go.

A dataset's texts and annotations as objects take ten times the memory of what training needs of them, so they are never held
together: situations go in as they are read, arrays come out.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from redheart.data.schema import Situation
from redheart.data.splits import SPLITS, Split, hash_of, split_of_hash
from redheart.data.targets import Annotations, Targets
from redheart.tasks import TASKS

_NUMBER = {split: number for number, split in enumerate(SPLITS)}


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """What follows from a dataset's situations, in their order.

    Attributes:
        ids: one per situation.
        splits: ``(situations,)`` int8, the place of each one's split in ``SPLITS``.
        text_hashes: ``(situations,)`` uint64, what each one's text is known by: equal for texts that are one to the splits.
        has_target: ``(situations,)`` bool, whether it trains or scores anything.
        targets: values and masks per task.
        outvoted: how many labels are not the highest-voted.
        first_outvoted: the id of the first of those, "" without one.
    """

    ids: list[str]
    splits: NDArray[np.int8]
    text_hashes: NDArray[np.uint64]
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
        for one in situations:
            gathering.add(one)
        return gathering.facts()

    def indices(self, split: Split) -> NDArray[np.int64]:
        """Positions of the situations of ``split``, in order."""
        return np.flatnonzero(self.splits == _NUMBER[split]).astype(np.int64)

    @property
    def counts(self) -> dict[Split, int]:
        """Situations per split."""
        return {split: int(np.count_nonzero(self.splits == number)) for split, number in _NUMBER.items()}

    @property
    def counts_of_texts(self) -> dict[Split, int]:
        """Different texts per split."""
        return {split: len(np.unique(self.text_hashes[self.splits == number])) for split, number in _NUMBER.items()}

    @property
    def repeated(self) -> list[int]:
        """Positions of the situations whose text an earlier one has too, in order."""
        _, first = np.unique(self.text_hashes, return_index=True)
        return [int(position) for position in np.setdiff1d(np.arange(len(self)), first)]

    @property
    def counts_with_target(self) -> dict[Split, int]:
        """Situations per split that have any target."""
        chosen = self.splits[self.has_target]
        return {split: int(np.count_nonzero(chosen == number)) for split, number in _NUMBER.items()}

    @property
    def counts_by_task(self) -> dict[str, int]:
        """Situations per task that have a target of it."""
        return {task.name: int(np.count_nonzero(self.targets.mask[task.name].any(axis=1))) for task in TASKS}


class FactsGathering:
    """Facts of situations that are added one by one and not kept."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._splits = bytearray()
        self._hashes = array("Q")
        self._annotations = Annotations()

    def add(self, one: Situation) -> None:
        """Takes the next situation of the dataset."""
        self._ids.append(one.id)
        text_hash = hash_of(one.text)
        self._hashes.append(text_hash)
        self._splits.append(_NUMBER[split_of_hash(text_hash)])
        self._annotations.add(one)

    def facts(self) -> DatasetFacts:
        """All that was gathered."""
        targets = self._annotations.targets()
        known = np.concatenate(list(targets.mask.values()), axis=1)
        outvoted = self._annotations.outvoted()
        return DatasetFacts(
            self._ids,
            np.frombuffer(bytes(self._splits), np.int8),
            np.array(self._hashes, np.uint64),
            np.asarray(known.any(axis=1), np.bool_),
            targets,
            len(outvoted),
            self._ids[outvoted[0]] if len(outvoted) else "",
        )
