"""Scores by which variants are compared, on the whole of ``judge`` and on bootstrap resamples of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from redheart.batches.table import SituationTable
from redheart.data.splits import Split
from redheart.evaluation.bootstrap import Draws, Resamples
from redheart.evaluation.evaluate import constant_predictor
from redheart.evaluation.resampled_metrics import draw, measures_of
from redheart.model.statistics import TargetStatistics
from redheart.tasks import TASKS


@dataclass(frozen=True, slots=True)
class Metric:
    """One column of the table: the mean over ``tasks`` of one of their measures.

    Attributes:
        sign: 1 where larger is better, −1 where smaller is.
    """

    name: str
    label: str
    sign: int
    measure: str
    tasks: tuple[str, ...]


#: Each group is said to be worth something, or nothing, by these.
METRICS = (
    Metric("emotion_kl", "emotion KL", -1, "kl", ("emotion",)),
    Metric("mean_r2", "mean R²", 1, "r2", tuple(task.name for task in TASKS if not task.is_distribution)),
    Metric("verdict_log_loss", "verdict log-loss", -1, "log_loss", ("verdict",)),
    Metric("mean_skill", "mean skill", 1, "skill", tuple(task.name for task in TASKS)),
)


class Scorer:
    """Turns predictions on a split into scores, with the same resamples for every run.

    Args:
        statistics: of the training split: the constant predictor that skills are measured from.
        samples: bootstrap resamples of the situations.
        should_stop: asked while they are drawn, see ``Resamples``.
    """

    def __init__(
        self,
        table: SituationTable,
        split: Split,
        statistics: TargetStatistics,
        *,
        samples: int,
        seed: int,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._table, self._statistics = table, statistics
        self._indices = table.split_indices[split]
        self._resamples = Resamples(len(self._indices), samples, seed, should_stop)

    def score(self, predictions: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, Draws]:
        """One run's scores by metric; a metric without any task that could be scored is absent.

        Args:
            predictions: (items, dimensions) per task, in natural units.
        """
        wanted = {
            f"{task.name}.{name}": measure
            for task in TASKS
            for name, measure in measures_of(
                task,
                self._table.targets.values[task.name][self._indices].astype(np.float64),
                self._table.targets.mask[task.name][self._indices],
                np.asarray(predictions[task.name], dtype=np.float64),
                constant_predictor(task.name, self._statistics),
            ).items()
            if any(name == metric.measure and task.name in metric.tasks for metric in METRICS)
        }
        drawn = draw(wanted, self._resamples)
        scores: dict[str, Draws] = {}
        for metric in METRICS:
            of_tasks = [drawn[key] for task in metric.tasks if (key := f"{task}.{metric.measure}") in drawn]
            if of_tasks:
                scores[metric.name] = Draws.mean(of_tasks)
        return scores
