"""The data coverage of some steps: which targets and inputs their batches held, and so what they could have trained."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from redheart.batches.order import Indices
from redheart.batches.table import SituationTable
from redheart.model.batch import KINDS
from redheart.model.losses import TARGETS
from redheart.tasks import TASK_BY_NAME

#: What a segment's kind means, in the order of the model's embedding of kinds.
KIND_NAMES = ("title", "action", "text window", "whole text")


def _nothing() -> dict[str, NDArray[np.bool_]]:
    return {target: np.zeros(len(TASK_BY_NAME[task].dimensions), bool) for target, task in TARGETS.items()}


class CoverageState(msgspec.Struct):
    """``DataCoverage`` as a resume state keeps it."""

    targets: dict[str, list[bool]]
    kinds: list[bool]
    longest: int


@dataclass
class DataCoverage:
    """What at least one situation had.

    Attributes:
        targets: (dims,) by target: whether it was annotated; a distribution is so as a whole or not at all.
        kinds: (4,) whether there was a segment of this kind.
        longest: segments of the longest story.
    """

    targets: dict[str, NDArray[np.bool_]] = field(default_factory=_nothing)
    kinds: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(KINDS, bool))
    longest: int = 0

    @staticmethod
    def of(table: SituationTable, situations: Indices) -> DataCoverage:
        coverage = DataCoverage()
        coverage.add(table, situations)
        return coverage

    def add(self, table: SituationTable, batch: Indices) -> None:
        """Adds the situations of a batch."""
        for target, mask in table.target_masks(batch).items():
            known = mask.numpy()
            if TASK_BY_NAME[TARGETS[target]].is_distribution:
                known = known & known.all(axis=1, keepdims=True)
            self.targets[target] |= known.any(axis=0)
        kinds, longest = table.dataset.kinds_in(batch)
        self.kinds |= kinds
        self.longest = max(self.longest, longest)

    @property
    def has_all_targets(self) -> bool:
        return all(bool(known.all()) for known in self.targets.values())

    def lacking(self) -> list[str]:
        """In words: kinds of segments and targets that no situation had."""
        missing = [f"{name} segments" for name, there in zip(KIND_NAMES, self.kinds, strict=True) if not there]
        for target, known in self.targets.items():
            dimensions = TASK_BY_NAME[TARGETS[target]].dimensions
            if not known.any():
                missing.append(f"target {target}")
            else:
                missing += [
                    f"target {target}.{name}" for name, there in zip(dimensions, known, strict=True) if not there
                ]
        return missing

    def to_state(self) -> CoverageState:
        targets = {target: known.tolist() for target, known in self.targets.items()}
        return CoverageState(targets, self.kinds.tolist(), self.longest)

    @staticmethod
    def from_state(state: CoverageState) -> DataCoverage:
        targets = {target: np.array(known, bool) for target, known in state.targets.items()}
        return DataCoverage(targets, np.array(state.kinds, bool), state.longest)
