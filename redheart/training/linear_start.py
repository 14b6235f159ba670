"""Where the heads' linear paths start: at the best linear prediction from the training split, found in closed form.

An untrained model is then as good as its simple rival (ridge and logistic regression on the same vectors), as it would
otherwise be as good as a constant, and training is left with what is not linear. Found by gradient descent instead, the
linear part of a few hundred stories is learned at rates at which everything else overfits.

Penalties are chosen without validation data: by leave-one-out for numbers, by cross-validation inside the training
split for distributions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from redheart.messages import note
from redheart.model.heads import LinearPath, linear_views
from redheart.model.statistics import TargetStatistics
from redheart.model.unified import normalise
from redheart.tasks import TASKS
from redheart.training.order import Indices
from redheart.training.table import SituationTable

#: Fewer annotated situations say too little; the path then starts at zero, where the constant predictor is.
FEWEST = 20
#: Situations or views, whichever are fewer: the decomposition costs the cube of it. More situations are sampled.
LARGEST_DECOMPOSITION = 4096
#: Penalties, relative to the views' mean square length; the larger the shorter the weights.
PENALTIES = tuple(float(x) for x in np.logspace(3.0, -3.0, 25))
#: Every third of them for distributions, whose solution takes iterations.
DISTRIBUTION_PENALTIES = PENALTIES[::2]
FOLDS = 5
_AT_ONCE = 512


@dataclass(frozen=True)
class LinearStart:
    """Weights ``(dims, views)`` and bias ``(dims,)`` of one task, and the relative penalty of each dimension."""

    weight: Tensor
    bias: Tensor
    penalties: tuple[float, ...]


def fit_linear_start(table: SituationTable, train: Indices, statistics: TargetStatistics) -> dict[str, LinearStart]:
    """The best linear prediction of each task from the linear views, in the model's units.

    Args:
        train: positions of the training situations; nothing else is looked at.

    Returns:
        By task; a task with fewer than 20 annotated training situations is absent.
    """
    views = _views(table, train)
    # A vector that is no number is the training loop's affair: it names the batch and skips the step.
    usable = views.isfinite().all(dim=1).numpy()
    views, train = views[usable], train[usable]
    space = _Space(views)
    found: dict[str, LinearStart] = {}
    for task in TASKS:
        target = torch.from_numpy(table.targets.values[task.name][train]).double()
        known = table.targets.mask[task.name][train]
        if task.is_distribution:
            rows = np.flatnonzero(known.all(axis=1))
            if len(rows) >= FEWEST:
                prior_log = torch.tensor(statistics[task.name].prior, dtype=torch.float64).log()
                found[task.name] = _distribution(space, rows, target, prior_log)
        elif fitted := _numbers(space, statistics.standardise(task.name, target.float()).double(), known):
            found[task.name] = fitted
    shown = ", ".join(f"{task} {min(one.penalties):.2g}–{max(one.penalties):.2g}" for task, one in found.items())
    note(f"linear start from {len(train)} situations, relative penalties: {shown}")
    return found


def apply_linear_start(model: nn.Module, found: Mapping[str, LinearStart]) -> None:
    """Puts the solutions into the linear paths of the heads that have one."""
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, LinearPath) and (one := found.get(name.split(".")[1])) is not None:
                module.weight.copy_(one.weight)
                module.bias.copy_(one.bias)


def _views(table: SituationTable, train: Indices) -> Tensor:
    """(situations, views) float64, in the order of ``train``."""
    parts = []
    for start in range(0, len(train), _AT_ONCE):
        batch = table.batch(train[start : start + _AT_ONCE])
        segments = normalise(batch.segments, batch.segment_mask)
        parts.append(linear_views(segments, batch.segment_mask, batch.kinds))
    return torch.cat(parts).double()


@dataclass(frozen=True)
class _Decomposition:
    """The centred views of the situations ``rows`` as ``left * lengths @ axes.T``; ``size``: their mean square length."""

    rows: Tensor
    mean: Tensor
    left: Tensor
    lengths: Tensor
    axes: Tensor
    size: float

    @staticmethod
    def of(views: Tensor, rows: Tensor) -> _Decomposition:
        mean = views[rows].mean(dim=0)
        centred = views[rows] - mean
        size = float(centred.square().sum() / len(centred))
        # By the smaller of the two Gram matrices: several times faster than a singular value decomposition.
        is_wide = centred.shape[0] <= centred.shape[1]
        squares, basis = torch.linalg.eigh(centred @ centred.T if is_wide else centred.T @ centred)
        keep = squares > 1e-10 * squares.max().clamp(min=1e-30)
        lengths, basis = squares[keep].sqrt(), basis[:, keep]
        other = (centred.T @ basis if is_wide else centred @ basis) / lengths
        left, axes = (basis, other) if is_wide else (other, basis)
        return _Decomposition(rows, mean, left, lengths, axes, size)


class _Space:
    """The views of the training situations, decomposed once for each set of them that some task annotates."""

    def __init__(self, views: Tensor) -> None:
        self.width = views.shape[1]
        self._views = views
        self._known: dict[bytes, _Decomposition] = {}

    def of(self, rows: NDArray[np.int64]) -> _Decomposition:
        """Of ``rows``, or of an even sample of them where that would take too long."""
        if min(len(rows), self.width) > LARGEST_DECOMPOSITION:
            rows = rows[np.linspace(0, len(rows) - 1, LARGEST_DECOMPOSITION).round().astype(np.int64)]
        key = rows.tobytes()
        if key not in self._known:
            self._known[key] = _Decomposition.of(self._views, torch.from_numpy(rows))
        return self._known[key]


def _numbers(space: _Space, target: Tensor, known: NDArray[np.bool_]) -> LinearStart | None:
    """Ridge regression, each dimension's penalty by its leave-one-out error (Hastie et al., *ESL*, 2nd ed., §7.10)."""
    weight = torch.zeros(target.shape[1], space.width, dtype=torch.float64)
    bias = torch.zeros(target.shape[1], dtype=torch.float64)
    penalties: list[float] = []
    for columns, rows in _by_mask(known):
        if len(rows) < FEWEST:
            continue
        parts = space.of(rows)
        y = target[parts.rows][:, columns]
        centre = y.mean(dim=0)
        seen = parts.left.T @ (y - centre)
        squared = parts.lengths.square()
        errors, solutions = [], []
        for penalty in PENALTIES:
            shrink = squared / (squared + penalty * parts.size)
            leverage = parts.left.square() @ shrink + 1 / len(y)
            residual = (y - centre - parts.left @ (shrink[:, None] * seen)) / (1 - leverage).clamp(min=1e-6)[:, None]
            errors.append(residual.square().mean(dim=0))
            solutions.append((shrink / parts.lengths)[:, None] * seen)
        best = torch.stack(errors).argmin(dim=0)
        for place, column in enumerate(columns):
            weight[column] = parts.axes @ solutions[int(best[place])][:, place]
            bias[column] = centre[place] - parts.mean @ weight[column]
            penalties.append(PENALTIES[int(best[place])])
    return LinearStart(weight.float(), bias.float(), tuple(penalties)) if penalties else None


def _by_mask(known: NDArray[np.bool_]) -> Iterator[tuple[list[int], NDArray[np.int64]]]:
    """Dimensions that are annotated in the same situations, and those situations' positions."""
    patterns, which = np.unique(known, axis=1, return_inverse=True)
    for pattern in range(patterns.shape[1]):
        columns = np.flatnonzero(which.reshape(-1) == pattern).tolist()
        yield columns, np.flatnonzero(patterns[:, pattern])


def _distribution(space: _Space, rows: NDArray[np.int64], target: Tensor, prior_log: Tensor) -> LinearStart:
    """Multinomial logistic regression on soft targets, relative to the prior; one penalty, by 5-fold cross-validation."""
    parts = space.of(rows)
    x, y = parts.left * parts.lengths, target[parts.rows]
    fold = torch.from_numpy(np.random.default_rng(0).permutation(len(x)) % FOLDS)
    starts: list[Tensor | None] = [None] * FOLDS
    best, best_error, since = 0, float("inf"), 0
    for place, penalty in enumerate(DISTRIBUTION_PENALTIES):
        error = 0.0
        for held in range(FOLDS):
            inside = fold != held
            solution = _logistic(x[inside], y[inside], prior_log, penalty * parts.size, starts[held])
            starts[held] = solution
            logits = x[~inside] @ solution[:-1] + solution[-1] + prior_log
            error -= float((y[~inside] * logits.log_softmax(dim=-1)).sum())
        if error < best_error:
            best, best_error, since = place, error, 0
        elif (since := since + 1) == 2:  # the error over the penalty has one minimum
            break
    solution = _logistic(x, y, prior_log, DISTRIBUTION_PENALTIES[best] * parts.size, None)
    weight = (parts.axes @ solution[:-1]).T
    bias = solution[-1] - weight @ parts.mean
    return LinearStart(weight.float(), bias.float(), (DISTRIBUTION_PENALTIES[best],))


def _logistic(x: Tensor, y: Tensor, prior_log: Tensor, penalty: float, start: Tensor | None) -> Tensor:
    """(axes + 1, dims): the minimum of the summed cross-entropy plus half the penalty times the weights' squares.

    By L-BFGS (Liu & Nocedal 1989); the last row is the bias, which is not penalised. The problem is convex.
    """
    solution = (
        torch.zeros(x.shape[1] + 1, y.shape[1], dtype=torch.float64) if start is None else start.clone()
    ).requires_grad_()
    optimizer = torch.optim.LBFGS([solution], max_iter=100, tolerance_grad=1e-5, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        logits = x @ solution[:-1] + solution[-1] + prior_log
        loss = -(y * logits.log_softmax(dim=-1)).sum() + 0.5 * penalty * solution[:-1].square().sum()
        loss = loss / len(x)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(objective)  # type: ignore[no-untyped-call]
    return solution.detach()
