"""Metrics as skills: every number beside that of a constant predictor, fitted on the training split, on the same items.

A skill is 1 for a perfect prediction, 0 for that constant and negative below it; there is no tolerance in any of them.
(A log-loss skill against votes that disagree stays below 1 by their entropy: nobody can predict the single vote.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from redheart.data.targets import DUST, varying
from redheart.facts.scores import DimensionScores, TaskScores
from redheart.model.statistics import PRIOR_STRENGTH
from redheart.tasks import Task

Array = NDArray[np.float64]
#: The least probability that a logarithm is taken of.
_TINY = 1e-12


def _spearman(target: Array, prediction: Array) -> float | None:
    from scipy.stats import spearmanr

    if len(target) < 3 or not varies(target) or np.ptp(prediction) == 0:
        return None
    return float(spearmanr(target, prediction).statistic)


def varies(values: Array) -> bool:
    """Whether ``(items,)`` values differ by more than rounding."""
    return bool(varying(values[:, None], np.ones((len(values), 1), np.bool_))[0])


def is_all_there_is(constant: Array, target: Array) -> bool:
    """Whether distributions ``(items, dimensions)`` are all alike and ``constant`` is what they are, but for its smoothing.

    Beside such a constant a skill tells of the smoothing alone: of how many situations there were, not of what was learned.
    The smoothing moves the constant on a straight line towards the uniform distribution, by half the way at most.
    """
    if varying(target, np.ones_like(target, np.bool_)).any():
        return False
    mean = target.mean(axis=0)
    smoothing = 1 / len(mean) - mean
    length = float(smoothing @ smoothing)
    share = float((constant - mean) @ smoothing) / length if length > DUST else 0.0
    share = min(max(share, 0.0), PRIOR_STRENGTH / (1 + PRIOR_STRENGTH))
    return bool(((constant - mean - share * smoothing) ** 2).max() <= DUST)


def _mean(values: list[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if present else None


def macro_f1(target: NDArray[np.int64], prediction: NDArray[np.int64]) -> float:
    """Unweighted mean over the classes that occur in the targets of F1 = 2TP / (2TP + FP + FN)."""
    scores = []
    for label in np.unique(target):
        hit = int(np.sum((prediction == label) & (target == label)))
        wrong = int(np.sum((prediction == label) != (target == label)))
        scores.append(2 * hit / (2 * hit + wrong) if hit or wrong else 0.0)
    return float(np.mean(scores))


def item_errors(task: Task, target: Array, mask: NDArray[np.bool_], prediction: Array) -> Array:
    """What each item adds to the task's error, for bootstraps: KL divergence in nats, or mean squared error over its
    valid dimensions divided by nothing; NaN for an item without a target.

    Args:
        target, prediction: ``(items, dimensions)`` in natural units; mask: the same shape.
    """
    if task.is_distribution:
        p, q = np.clip(target, 0, 1), np.clip(prediction, _TINY, 1)
        kl = np.where(p > 0, p * (np.log(np.clip(p, _TINY, 1)) - np.log(q)), 0.0).sum(axis=1)
        return np.where(mask.all(axis=1), kl, np.nan)
    count = mask.sum(axis=1)
    squared = np.where(mask, (prediction - target) ** 2, 0.0).sum(axis=1)
    return np.where(count > 0, squared / np.maximum(count, 1), np.nan)


def _distribution_metrics(
    task: Task, target: Array, mask: NDArray[np.bool_], prediction: Array, constant: Array
) -> TaskScores:
    valid = mask.all(axis=1)
    if not valid.any():
        return TaskScores(count=0)
    p, q = target[valid], np.clip(prediction[valid], _TINY, 1)
    everywhere = np.ones_like(p, dtype=bool)
    kl = float(item_errors(task, p, everywhere, q).mean())
    kl_constant = float(item_errors(task, p, everywhere, np.broadcast_to(constant, p.shape)).mean())
    log_loss = float(-(p * np.log(q)).sum(axis=1).mean())
    log_loss_constant = float(-(p * np.log(np.clip(constant, _TINY, 1))).sum(axis=1).mean())
    top, guess = p.argmax(axis=1), q.argmax(axis=1)
    kl_skill, log_loss_skill = 1 - kl / max(kl_constant, _TINY), 1 - log_loss / max(log_loss_constant, _TINY)
    has_skill = not is_all_there_is(constant, p)
    return TaskScores(
        skill=(kl_skill if task.skill == "kl_skill" else log_loss_skill) if has_skill else None,
        count=int(valid.sum()),
        kl=kl,
        kl_constant=kl_constant,
        kl_skill=kl_skill if has_skill else None,
        log_loss=log_loss,
        log_loss_constant=log_loss_constant,
        log_loss_skill=log_loss_skill if has_skill else None,
        accuracy=float((top == guess).mean()),
        accuracy_constant=float((top == int(constant.argmax())).mean()),
        macro_f1=macro_f1(top, guess),
    )


def _regression_metrics(
    task: Task, target: Array, mask: NDArray[np.bool_], prediction: Array, constant: Array
) -> TaskScores:
    dimensions: dict[str, DimensionScores] = {}
    for column, name in enumerate(task.dimensions):
        valid = mask[:, column]
        if valid.sum() < 2:
            continue
        y, f = target[valid, column], prediction[valid, column]
        error, error_constant = float(((f - y) ** 2).mean()), float(((constant[column] - y) ** 2).mean())
        dimensions[name] = DimensionScores(
            count=int(valid.sum()),
            r2=1 - error / error_constant if error_constant > DUST else None,
            rank_correlation=_spearman(y, f),
            mae=float(np.abs(f - y).mean()),
            mae_constant=float(np.abs(constant[column] - y).mean()),
            mse=error,
        )
    if not dimensions:
        return TaskScores(count=0)
    found = list(dimensions.values())
    r2 = _mean([one.r2 for one in found])
    return TaskScores(
        skill=r2,
        count=int(mask.any(axis=1).sum()),
        r2=r2,
        rank_correlation=_mean([one.rank_correlation for one in found]),
        mae=_mean([one.mae for one in found]),
        mae_constant=_mean([one.mae_constant for one in found]),
        mse=_mean([one.mse for one in found]),
        dimensions=dimensions,
    )


def task_metrics(task: Task, target: Array, mask: NDArray[np.bool_], prediction: Array, constant: Array) -> TaskScores:
    """All metrics of a task, with ``skill``: the one that the task declares; None where nothing could be scored,
    or where the constant predictor is all that there is to know: targets that do not vary, but by rounding.

    Args:
        target, prediction: ``(items, dimensions)``, probabilities or values in 0..1.
        mask: ``(items, dimensions)``, True where the target counts.
        constant: ``(dimensions,)``, the constant predictor: the training split's mean, or mean distribution.

    R² is against the *training* mean, not the scored items' own: 1 − Σ(f−y)²/Σ(c−y)².
    """
    measure = _distribution_metrics if task.is_distribution else _regression_metrics
    target, prediction, constant = (np.asarray(a, dtype=np.float64) for a in (target, prediction, constant))
    return measure(task, target, mask, prediction, constant)
