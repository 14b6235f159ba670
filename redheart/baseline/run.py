"""The baseline of a run: fitted to the training split that the model was trained on, predicting another split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from redheart.baseline.features import baseline_features, blocks_of
from redheart.baseline.fit import Array, Baseline, fit_baseline
from redheart.batches.table import SituationTable
from redheart.data.splits import Split
from redheart.facts.comparison import BaselineDescription


@dataclass(frozen=True)
class RunBaseline:
    """A fitted baseline and what it says.

    Attributes:
        predictions: by split and task ``(situations of the split, dimensions)``, in the split's order.
    """

    baseline: Baseline
    predictions: dict[Split, dict[str, Array]]
    description: BaselineDescription


def baseline_of_run(
    training: SituationTable,
    scored: SituationTable,
    splits: Sequence[Split],
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> RunBaseline:
    """Fits a baseline to the training split of ``training`` and asks it about ``splits`` of ``scored``.

    Args:
        training: the data that the model was trained on.
        scored: the data that it is scored on; often the same.

    Raises:
        Interrupted: ``should_stop`` said so.
    """
    train = training.split_indices["train"]
    features = baseline_features(training.dataset, train)
    baseline = fit_baseline(
        features,
        {name: values[train] for name, values in training.targets.values.items()},
        {name: known[train] for name, known in training.targets.mask.items()},
        should_stop=should_stop,
    )
    predictions = {
        split: baseline.predict(baseline_features(scored.dataset, scored.split_indices[split])) for split in splits
    }
    return RunBaseline(baseline, predictions, BaselineDescription(blocks_of(features), len(train), baseline.record()))
