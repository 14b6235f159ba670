"""Scores of ``benchmarks.model_quality``, from predictions: means over seeds, and intervals by a paired bootstrap.

Folds and seeds are put together as follows: every situation is tested in one fold; its errors are averaged over seeds (the
errors of single models: no ensemble is scored); the bootstrap draws situations. An interval holds both things that vary:
the variance of the bootstrap, and the seeds' variance over their number, with Satterthwaite's degrees of freedom. With a
single seed it holds situations alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from redheart.evaluation.bootstrap import Draws, side_of_zero
from redheart.evaluation.standard_error import StandardError
from redheart.tasks import TASK_BY_NAME, TASKS

Array = NDArray[np.float64]
DRAWS = 2000
NUMBERS = tuple(task.name for task in TASKS if not task.is_distribution)
WRONG = tuple(TASK_BY_NAME["verdict"].dimensions.index(name) for name in ("AUTHOR", "EVERYBODY"))
RIGHT = tuple(TASK_BY_NAME["verdict"].dimensions.index(name) for name in ("OTHER", "NOBODY"))
_TINY = 1e-9


@dataclass(frozen=True)
class Predictions:
    """What one way of predicting said of the same tested situations: by task ``(seeds, situations, dims)``."""

    tasks: Mapping[str, Array]


@dataclass(frozen=True)
class Truth:
    """Targets and masks ``(situations, dims)`` per task; ``base``: what the constant predictor says of each."""

    targets: Mapping[str, Array]
    masks: Mapping[str, NDArray[np.bool_]]
    base: Mapping[str, Array]


#: A measure: predictions of one seed, the truth, and which situations (with repeats) -> a number. Higher or lower is better.
Measure = Callable[[Mapping[str, Array], Truth, NDArray[np.int64]], float]


def kl_of_emotions(said: Mapping[str, Array], truth: Truth, drawn: NDArray[np.int64]) -> float:
    """Mean KL divergence of the annotated shares from the predicted ones, nats."""
    p, q = truth.targets["emotion"][drawn], np.clip(said["emotion"][drawn], _TINY, 1)
    valid = truth.masks["emotion"][drawn].all(axis=1)
    divergence = np.where(p > 0, p * (np.log(np.clip(p, _TINY, 1)) - np.log(q)), 0).sum(axis=1)
    return float(divergence[valid].mean())


def r2_of(*tasks: str) -> Measure:
    """Mean over the tasks' dimensions of 1 − squared error / the squared error of the training mean."""

    def measure(said: Mapping[str, Array], truth: Truth, drawn: NDArray[np.int64]) -> float:
        shares = []
        for task in tasks:
            mask = truth.masks[task][drawn]
            y = truth.targets[task][drawn]
            error = np.where(mask, (said[task][drawn] - y) ** 2, 0).sum(axis=0)
            shares.append(1 - error / np.where(mask, (truth.base[task][drawn] - y) ** 2, 0).sum(axis=0))
        return float(np.concatenate(shares).mean())

    return measure


def log_loss_of_votes(said: Mapping[str, Array], truth: Truth, drawn: NDArray[np.int64]) -> float:
    """Cross-entropy of the shares of the votes, nats."""
    p, q = truth.targets["votes"][drawn], np.clip(said["verdict"][drawn], _TINY, 1)
    valid = truth.masks["votes"][drawn].all(axis=1)
    return float(-(p * np.log(q)).sum(axis=1)[valid].mean())


def log_loss_of_label(said: Mapping[str, Array], truth: Truth, drawn: NDArray[np.int64]) -> float:
    """Cross-entropy of the label with most votes, nats."""
    top = truth.targets["verdict"][drawn].argmax(axis=1)
    q = np.clip(said["verdict"][drawn], _TINY, 1)
    return float(-np.log(q[np.arange(len(q)), top]).mean())


def auc_of_wrong(said: Mapping[str, Array], truth: Truth, drawn: NDArray[np.int64]) -> float:
    """Area under the ROC curve of "the author is wrong" by the majority of votes that say so or not (ties left out)."""
    votes, q = truth.targets["votes"][drawn], said["verdict"][drawn]
    wrong, right = votes[:, WRONG].sum(axis=1), votes[:, RIGHT].sum(axis=1)
    decided = wrong != right
    score = (q[:, WRONG].sum(axis=1) / np.clip(q[:, WRONG + RIGHT].sum(axis=1), _TINY, None))[decided]
    is_wrong = (wrong > right)[decided]
    ranks = _mean_ranks(score)
    positive = int(is_wrong.sum())
    return float((ranks[is_wrong].sum() - positive * (positive + 1) / 2) / (positive * (len(score) - positive)))


def _mean_ranks(values: Array) -> Array:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Array = (last - (counts - 1) / 2)[inverse]
    return ranks


#: Name -> measure, whether higher is better, and the targets that it needs.
ANNOTATED: dict[str, tuple[Measure, bool]] = {
    "emotion KL": (kl_of_emotions, False),
    "mean R²": (r2_of(*NUMBERS), True),
    **{f"R² {task}": (r2_of(task), True) for task in NUMBERS},
    "votes log-loss": (log_loss_of_votes, False),
}
VOTES: dict[str, tuple[Measure, bool]] = {
    "AUC wrong/right": (auc_of_wrong, True),
    "label log-loss": (log_loss_of_label, False),
    "votes log-loss": (log_loss_of_votes, False),
}


def over_seeds(measure: Measure, said: Predictions, truth: Truth, drawn: NDArray[np.int64]) -> list[float]:
    """The measure of each seed."""
    seeds = len(next(iter(said.tasks.values())))
    return [measure({task: values[seed] for task, values in said.tasks.items()}, truth, drawn) for seed in range(seeds)]


def _interval(value: float, drawn: Array, seeds: Sequence[Sequence[float]]) -> tuple[float, float]:
    """95 % interval of a mean over seeds, or of the difference of two; ``drawn``: the same in each draw of situations.

    Not known, so without end, where a draw has no score: an AUC needs situations of both kinds.
    """
    by_situations = float(drawn.var(ddof=1))
    parts = [(float(np.var(found, ddof=1)) / len(found), len(found) - 1) for found in seeds if len(found) > 1]
    if not np.isfinite(by_situations + sum(part for part, _ in parts)):
        return float("-inf"), float("inf")
    reach = StandardError.of([(by_situations, len(drawn) - 1), *parts]).margin(0.95)
    return value - reach, value + reach


def compare(
    measures: Mapping[str, tuple[Measure, bool]], said: Mapping[str, Predictions], truth: Truth, against: Sequence[str]
) -> dict[str, Any]:
    """Every way of predicting by every measure, with 95 % intervals, and its paired differences from ``against``.

    Returns:
        By measure and way: ``value``, ``low``, ``high``, ``seeds`` (each one's value), and ``minus <other>`` with
        ``value``, ``low``, ``high`` and ``better`` (True, False or None: the interval holds 0).
    """
    count = len(next(iter(truth.targets.values())))
    generator = np.random.default_rng(0)
    everything = np.arange(count)
    draws = [generator.integers(0, count, count) for _ in range(DRAWS)]
    table: dict[str, Any] = {}
    for name, (measure, higher) in measures.items():
        seeds = {way: over_seeds(measure, one, truth, everything) for way, one in said.items()}
        drawn = {
            way: Draws(
                float(np.mean(seeds[way])),
                np.array([np.mean(over_seeds(measure, one, truth, d)) for d in draws]),
            )
            for way, one in said.items()
        }
        rows: dict[str, Any] = {}
        for way, own in drawn.items():
            low, high = _interval(own.value, own.resampled, (seeds[way],))
            rows[way] = {"value": own.value, "low": low, "high": high, "seeds": seeds[way]}
            for other in against:
                if other in said and other != way:
                    paired = own - drawn[other]
                    low, high = _interval(paired.value, paired.resampled, (seeds[way], seeds[other]))
                    better = {"around": None, "above": higher, "below": not higher}[side_of_zero(low, high)]
                    rows[way][f"minus {other}"] = {"value": paired.value, "low": low, "high": high, "better": better}
        table[name] = rows
    return table
