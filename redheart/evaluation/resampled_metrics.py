"""Metrics written as functions of sums over situations, so that one set of resamples gives each its interval.

A metric that is no mean over situations – R², F1, a rank correlation – is one of sums over them all the same. What is
compared is computed from the same resamples, so differences are paired: what makes a situation hard cancels out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from redheart.data.targets import DUST
from redheart.evaluation.bootstrap import Array, Draws, Resamples
from redheart.evaluation.metrics import is_all_there_is, varies
from redheart.tasks import Task

_TINY = 1e-12


@dataclass(frozen=True)
class Measure:
    """One metric of one predictor on one split.

    Attributes:
        columns: ``(count, k)`` what each situation adds.
        value: sums of the columns ``(samples, k)`` -> the metric ``(samples,)``; NaN where nothing is left to score.
    """

    name: str
    higher_is_better: bool
    columns: Array
    value: Callable[[Array], Array]


def draw(measures: Mapping[str, Measure], resamples: Resamples) -> dict[str, Draws]:
    """All of ``measures`` on the split and on the same resamples of it; those that can't be had on the split are left out."""
    if not measures:
        return {}
    sums = resamples.sums(np.concatenate([one.columns for one in measures.values()], axis=1))
    found: dict[str, Draws] = {}
    start = 0
    for key, measure in measures.items():
        stop = start + measure.columns.shape[1]
        with np.errstate(divide="ignore", invalid="ignore"):
            value = float(measure.value(measure.columns.sum(axis=0, keepdims=True))[0])
            if np.isfinite(value):
                found[key] = Draws(value, measure.value(sums[:, start:stop]))
        start = stop
    return found


def measures_of(
    task: Task, target: Array, mask: NDArray[np.bool_], prediction: Array, constant: Array
) -> dict[str, Measure]:
    """The task's metrics by name, as ``redheart.evaluation.metrics.task_metrics`` has them; empty without targets.

    Args:
        target, prediction: ``(count, dimensions)`` in natural units; mask: the same shape.
        constant: ``(dimensions,)`` the constant predictor of the training split.

    ``skill`` is the one that the task declares; ``r2.<dimension>`` is that of one dimension of a regression.
    """
    target, prediction = np.asarray(target, np.float64), np.asarray(prediction, np.float64)
    made = _of_distribution if task.is_distribution else _of_regression
    return {one.name: one for one in made(task, target, mask, prediction, constant)}


def _ratio(sums: Array) -> Array:
    return sums[:, 0] / sums[:, 1]


def _skill(sums: Array, dust: Array | float) -> Array:
    """Errors of the predictor in the first half of the columns, of the constant in the second; the mean over dimensions.

    Args:
        dust: ``(dimensions,)`` the largest sum of the constant's errors that is none.
    """
    half = sums.shape[1] // 2
    top, bottom = sums[:, :half], sums[:, half:]
    return _mean_where(bottom > dust, 1 - top / np.where(bottom > dust, bottom, 1.0))


def _mean_where(there: NDArray[np.bool_], values: Array) -> Array:
    """Means over the columns that are ``there``; NaN where none is."""
    mean: Array = np.where(there, values, 0.0).sum(axis=1) / there.sum(axis=1)
    return mean


def _f1(sums: Array) -> Array:
    """Targets, hits and guesses of each class, in thirds: the mean F1 over the classes that occur in the targets."""
    third = sums.shape[1] // 3
    there, hits, guesses = sums[:, :third], sums[:, third : 2 * third], sums[:, 2 * third :]
    return _mean_where(there > 0, 2 * hits / np.where(there > 0, there + guesses, 1.0))


def _of_distribution(
    task: Task, target: Array, mask: NDArray[np.bool_], prediction: Array, constant: Array
) -> list[Measure]:
    valid = np.asarray(mask.all(axis=1))
    if not valid.any():
        return []
    p = np.where(valid[:, None], np.clip(target, 0, 1), 0.0)
    counted = valid.astype(np.float64)

    def cross_entropy(q: Array) -> Array:
        return np.where(valid, -(p * np.log(np.clip(q, _TINY, 1))).sum(axis=1), 0.0)

    own: Array = -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=1)
    log_loss, of_constant = cross_entropy(prediction), cross_entropy(np.broadcast_to(constant, p.shape))
    classes = np.arange(p.shape[1])
    tops = (target.argmax(axis=1)[:, None] == classes) * counted[:, None]
    guesses = (prediction.argmax(axis=1)[:, None] == classes) * counted[:, None]
    floor = own if task.skill == "kl_skill" else np.zeros_like(own)
    errors = np.stack([log_loss - floor, of_constant - floor], axis=1)
    skill = Measure("skill", True, errors, partial(_skill, dust=DUST * float(counted.sum())))
    return [
        *([] if is_all_there_is(constant, target[valid]) else [skill]),
        Measure("kl", False, np.stack([log_loss - own, counted], axis=1), _ratio),
        Measure("log_loss", False, np.stack([log_loss, counted], axis=1), _ratio),
        Measure("accuracy", True, np.stack([(tops * guesses).sum(axis=1), counted], axis=1), _ratio),
        Measure("macro_f1", True, np.concatenate([tops, tops * guesses, guesses], axis=1), _f1),
    ]


def _correlations(sums: Array) -> Array:
    """Six sums per dimension – n, Σx, Σy, Σx², Σy², Σxy –: the mean over dimensions of Pearson's correlation."""
    n, x, y, xx, yy, xy = np.moveaxis(sums.reshape(len(sums), -1, 6), -1, 0)
    spread = np.sqrt(np.clip(n * xx - x * x, 0, None) * np.clip(n * yy - y * y, 0, None))
    return _mean_where(spread > _TINY, (n * xy - x * y) / np.where(spread > _TINY, spread, 1.0))


def _mean_error(sums: Array) -> Array:
    """Errors in the first half of the columns, counts in the second: the mean over dimensions."""
    half = sums.shape[1] // 2
    errors, counts = sums[:, :half], sums[:, half:]
    return _mean_where(counts > 0, errors / np.where(counts > 0, counts, 1.0))


def _rank_columns(target: Array, valid: NDArray[np.bool_], prediction: Array) -> Array | None:
    """What Spearman's correlation sums, of one dimension, around the middle rank.

    Ranks are those on the whole split, not those in each resample: ranking 2,000 resamples anew would change the
    interval by order 1/n.
    """
    from scipy.stats import rankdata

    y, f = target[valid], prediction[valid]
    if len(y) < 3 or not varies(y) or np.ptp(f) == 0:
        return None
    columns = np.zeros((len(target), 6))
    a, b = rankdata(y) / len(y) - 0.5, rankdata(f) / len(f) - 0.5
    columns[valid] = np.stack([np.ones_like(a), a, b, a * a, b * b, a * b], axis=1)
    return columns


def _of_regression(
    task: Task, target: Array, mask: NDArray[np.bool_], prediction: Array, constant: Array
) -> list[Measure]:
    error = np.where(mask, prediction - target, 0.0)
    of_constant = np.where(mask, constant - target, 0.0)
    scored = [column for column in range(mask.shape[1]) if mask[:, column].sum() >= 2]
    if not scored:
        return []
    there = mask[:, scored].astype(np.float64)
    dust = DUST * there.sum(axis=0)
    errors = np.concatenate([error[:, scored] ** 2, of_constant[:, scored] ** 2], axis=1)
    measures = [
        Measure("skill", True, errors, partial(_skill, dust=dust)),
        Measure("mae", False, np.concatenate([np.abs(error[:, scored]), there], axis=1), _mean_error),
    ]
    measures.insert(1, Measure("r2", True, errors, measures[0].value))
    ranks = [_rank_columns(target[:, c], mask[:, c], prediction[:, c]) for c in scored]
    ranked = [columns for columns in ranks if columns is not None]
    if ranked:
        measures.append(Measure("rank_correlation", True, np.concatenate(ranked, axis=1), _correlations))
    if len(task.dimensions) > 1:
        measures += [
            Measure(
                f"r2.{task.dimensions[column]}",
                True,
                np.stack([error[:, column] ** 2, of_constant[:, column] ** 2], axis=1),
                partial(_skill, dust=dust[place]),
            )
            for place, column in enumerate(scored)
        ]
    return measures
