"""The rival of a run: fitted to the training split that the model was trained on, asked about another split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redheart.data.splits import Split
from redheart.rival.features import blocks_of, rival_features
from redheart.rival.fit import Array, Rival, fit_rival
from redheart.training.table import SituationTable


@dataclass(frozen=True)
class RivalDescription:
    """What a rival is; as JSON it has the same names.

    Attributes:
        features: the blocks that it saw.
        trained_on: training situations.
        tasks: what was fitted for each, or why nothing was (``absent``).
    """

    features: tuple[str, ...]
    trained_on: int
    tasks: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class RunRival:
    """A fitted rival and what it says.

    Attributes:
        predictions: by split and task ``(situations of the split, dimensions)``, in the split's order.
    """

    rival: Rival
    predictions: dict[Split, dict[str, Array]]
    description: RivalDescription


def rival_of_run(training: SituationTable, scored: SituationTable, splits: Sequence[Split]) -> RunRival:
    """Fits a rival to the training split of ``training`` and asks it about ``splits`` of ``scored``.

    Args:
        training: the data that the model was trained on.
        scored: the data that it is scored on; often the same.
    """
    train = training.split_indices["train"]
    features = rival_features(training.dataset, train)
    rival = fit_rival(
        features,
        {name: values[train] for name, values in training.targets.values.items()},
        {name: known[train] for name, known in training.targets.mask.items()},
    )
    predictions = {
        split: rival.predict(rival_features(scored.dataset, scored.split_indices[split])) for split in splits
    }
    return RunRival(rival, predictions, RivalDescription(blocks_of(features), len(train), rival.record()))
