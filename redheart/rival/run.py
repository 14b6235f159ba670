"""The rival of a run: fitted to the training split that the model was trained on, asked about another split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from redheart.config import EmbeddingConfig
from redheart.data.splits import Split
from redheart.messages import warn
from redheart.rival.features import BLOCKS, rival_features
from redheart.rival.fit import Array, Rival, fit_rival
from redheart.rival.whole_text import WholeTexts, whole_texts
from redheart.training.order import Indices
from redheart.training.table import SituationTable

FOLDER = "rival"


@dataclass(frozen=True)
class RivalDescription:
    """What a rival is; as JSON it has the same names.

    Attributes:
        features: the blocks that it saw; ``without`` says why one is not among them.
        trained_on: training situations.
        tasks: what was fitted for each, or why nothing was (``absent``).
    """

    features: tuple[str, ...]
    without: str | None
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


def rival_of_run(
    training: SituationTable,
    scored: SituationTable,
    splits: Sequence[Split],
    config: EmbeddingConfig,
    output: Path,
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> RunRival:
    """Fits a rival to the training split of ``training`` and asks it about ``splits`` of ``scored``.

    Args:
        training: the data that the model was trained on.
        scored: the data that it is scored on; often the same.
        output: the run's folder, where the vectors of whole texts are kept under ``rival/``.

    Raises:
        Interrupted: ``should_stop`` said so.
    """
    train = training.split_indices["train"]
    parts = {split: scored.split_indices[split] for split in splits}
    asked = np.concatenate([*parts.values()]) if parts else np.zeros(0, np.int64)

    def whole(table: SituationTable, indices: Indices) -> WholeTexts:
        return whole_texts(table.dataset, indices, config, output / FOLDER, should_stop=should_stop)

    of_training, of_asked = whole(training, train), whole(scored, asked)
    missing = of_training.missing or of_asked.missing
    if missing is not None:
        warn("rival_without_whole_text", reason=missing)
    use = missing is None
    rival = fit_rival(
        rival_features(training.dataset, train, of_training.vectors if use else None),
        {name: values[train] for name, values in training.targets.values.items()},
        {name: known[train] for name, known in training.targets.mask.items()},
    )
    said = rival.predict(rival_features(scored.dataset, asked, of_asked.vectors if use else None))
    predictions: dict[Split, dict[str, Array]] = {}
    first = 0
    for split, indices in parts.items():
        last = first + len(indices)
        predictions[split] = {name: values[first:last] for name, values in said.items()}
        first = last
    features = tuple(block for block in BLOCKS if use or block != "whole_text")
    return RunRival(rival, predictions, RivalDescription(features, missing, len(train), rival.record()))
