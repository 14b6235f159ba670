"""Where the heads' linear and radial paths start: at the best prediction from the training split, found in closed form.

A prediction that is linear in the views and in the RBF activations to training stories is ridge regression, or logistic
regression, on both. An untrained model is then better than its simple baseline, which is that on the views alone, as it would
otherwise be as good as a constant, and training is left with the rest. Found by gradient descent instead, the
linear part of a few hundred stories is learned at rates at which everything else overfits.

Penalties are chosen without validation data: by leave-one-out for numbers, by cross-validation inside the training
split for distributions. So is how much the RBF activations count beside the views.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from redheart.batches.order import Indices
from redheart.batches.table import SituationTable
from redheart.messages import debug, info
from redheart.model.modules.heads import LinearPath
from redheart.model.modules.radial_basis import RadialBasis, RadialPath, rbf_activations
from redheart.model.modules.views import VIEWS, linear_views
from redheart.model.statistics import TargetStatistics
from redheart.model.unified import normalise
from redheart.tasks import TASK_BY_NAME, TASKS
from redheart.training.optimizer import MIN_FOR_START

#: Situations or axes, whichever are fewer: the decomposition costs the cube of it. More situations are sampled. Views and
#: RBF activations of vectors of 1,024 numbers have 4,672 axes.
MAX_DECOMPOSITION = 4672
#: Situations that a task is fitted to; of more, so many are sampled, or it would take longer than an epoch.
MAX_FITTED = 16384
#: Penalties, relative to the mean square length of views and RBF activations together; the larger the shorter the weights.
PENALTIES = tuple(float(x) for x in np.logspace(3.0, -3.0, 25))
#: Every other one for distributions, whose solution takes iterations.
DISTRIBUTION_PENALTIES = PENALTIES[::2]
FOLDS = 5
#: Held-out situations beyond which no further fold is asked for a penalty.
ENOUGH_HELD_OUT = 2000
#: What the RBF activations may count beside the views, whose vectors have about unit length.
RADIAL_WEIGHTS = (2.0, 5.0)
#: Axes of the RBF activations with less than this share of the longest one's square are noise of fp32, and left out.
_SMALLEST_AXIS = 1e-5
_AT_ONCE = 512


@dataclass(frozen=True)
class PathStart:
    """One task: ``weight`` (dims, views), ``radial`` (dims, centres) and ``bias`` (dims,).

    Attributes:
        penalties: the relative penalty of each dimension that was fitted.
        radial_weight: what rbf_activations counted beside the views; 0 without centres.
    """

    weight: Tensor
    radial: Tensor
    bias: Tensor
    penalties: tuple[float, ...]
    radial_weight: float


@dataclass(frozen=True)
class LinearStart:
    """The starts by task, and the centres (centres, views) with the training stories' mean RBF activations (centres,) to them.

    Attributes:
        stories: the first so many centres are training stories and have a weight; what follows lies between them.
    """

    centres: Tensor
    mean: Tensor
    stories: int
    paths: Mapping[str, PathStart] = field(default_factory=dict)

    def __getitem__(self, task: str) -> PathStart:
        return self.paths[task]

    def __contains__(self, task: str) -> bool:
        return task in self.paths

    def shown(self, task: str) -> str:
        """Its name, and of how many of its dimensions a prediction was found where not of all: ``bentham (6/7)``."""
        found, dimensions = len(self.paths[task].penalties), len(self.paths[task].bias)
        return task if TASK_BY_NAME[task].is_distribution or found == dimensions else f"{task} ({found}/{dimensions})"


def centres_of(model: nn.Module) -> int:
    """How many centres the model's radial basis functions have; 0 if it has none."""
    return sum(len(module.mean) for module in model.modules() if isinstance(module, RadialBasis))


def fit_linear_start(
    table: SituationTable, train: Indices, statistics: TargetStatistics, *, centres: int
) -> LinearStart:
    """The best prediction of each task that is linear in the views and in the RBF activations to ``centres`` stories.

    Args:
        train: positions of the training situations; nothing else is looked at.
        centres: see ``centres_of``. They are training stories, evenly chosen; where there are fewer, all of them, and
            what lies halfway between two.

    Returns:
        In the model's units; a task with fewer than 20 annotated training situations is absent.
    """
    views = _views(table, train)
    # A vector that is no number is the training loop's affair: it names the batch and skips the step.
    usable = views.isfinite().all(dim=1).numpy()
    views, train = views[usable], train[usable]
    targets = np.stack([table.targets.mask[task.name][train].any(axis=1) for task in TASKS]).sum(axis=0)
    radial = _Radial(views, centres if len(views) else 0, targets)
    tries: dict[str, list[_Try]] = {task.name: [] for task in TASKS}
    for weight in RADIAL_WEIGHTS if radial.count else (0.0,):
        space = _Space(views, radial, weight)  # one at a time: its decompositions take hundreds of megabytes each
        for task in TASKS:
            target = torch.from_numpy(table.targets.values[task.name][train]).double()
            known = table.targets.mask[task.name][train]
            if task.is_distribution:
                rows = np.flatnonzero(known.all(axis=1))
                if len(rows) >= MIN_FOR_START:
                    prior_log = torch.tensor(statistics[task.name].prior, dtype=torch.float64).log()
                    tries[task.name].append(_distribution(space, rows, target, prior_log))
            elif fitted := _numbers(space, statistics.standardise(task.name, target.float()).double(), known):
                tries[task.name].append(fitted)
    found = {name: min(its, key=lambda one: one.error).start for name, its in tries.items() if its}
    shown = ", ".join(
        f"{task} {min(one.penalties):.2g}–{max(one.penalties):.2g} (rbf_activations × {one.radial_weight:g})"
        for task, one in found.items()
    )
    debug(f"linear start from {len(train)} situations, {radial.count} centres, relative penalties: {shown}")
    return LinearStart(radial.centres.float(), radial.mean.float(), min(radial.count, len(views)), found)


def apply_linear_start(model: nn.Module, found: LinearStart) -> None:
    """Puts the centres into the model and the solutions into its heads' paths.

    Raises:
        ValueError: it was fitted for another number of centres.
    """
    if found.paths and len(found.mean) != centres_of(model):
        raise ValueError(f"a start with {len(found.mean)} centres for a model with {centres_of(model)}")
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, RadialBasis) and len(found.mean):
                module.centres.copy_(found.centres)
                module.mean.copy_(found.mean)
            elif isinstance(module, LinearPath | RadialPath):
                task = name.split(".")[1]
                if task in found and isinstance(module, LinearPath):
                    module.weight.copy_(found[task].weight)
                    module.bias.copy_(found[task].bias)
                elif task in found:
                    stories = slice(found.stories)  # the others keep a little weight, for a gradient
                    module.weight[:, stories].copy_(found[task].radial[:, stories])


def start_linear_paths(model: nn.Module, table: SituationTable, train: Indices, statistics: TargetStatistics) -> None:
    """Fits and applies, and says so: what ``training.linear_start`` asks for.

    Args:
        train: positions of the training situations.
    """
    # Every process solves: the same numbers from the same data, and rank 0's are what the engine hands to all.
    info("training.solving", situations=len(train))
    started = time.monotonic()
    found = fit_linear_start(table, train, statistics, centres=centres_of(model))
    apply_linear_start(model, found)
    if found.paths:
        info("training.solved", seconds=time.monotonic() - started, tasks=", ".join(map(found.shown, found.paths)))
    if missing := [task.name for task in TASKS if task.name not in found and statistics[task.name].targets]:
        info("training.unsolved", fewest=MIN_FOR_START, tasks=", ".join(missing))


def _views(table: SituationTable, train: Indices) -> Tensor:
    """(situations, views) float32, in the order of ``train``; only what is solved for is made float64."""
    parts = []
    for start in range(0, len(train), _AT_ONCE):
        batch = table.batch(train[start : start + _AT_ONCE])
        segments = normalise(batch.segments, batch.segment_mask)
        parts.append(linear_views(segments, batch.segment_mask, batch.kinds))
    return torch.cat(parts)


class _Radial:
    """Centres, and the stories' RBF activations in the coordinates in which a kernel machine's penalty is the plain sum of squares.

    Nearness is computed where it is asked for: of a hundred thousand stories it would take gigabytes.

    Args:
        views: (stories, views).
        count: of the centres.
        targets: how many tasks each story has a target for.

    Attributes:
        centres: (centres, views) float64; mean: (centres,), of the RBF activations of all stories.
        back: (centres, axes), brings weights of ``features`` to weights of the RBF activations less its mean.
    """

    def __init__(self, views: Tensor, count: int, targets: NDArray[np.int64]) -> None:
        stories = len(views)
        self.count, self._stories = count, views
        self._known: dict[bytes, Tensor] = {}
        chosen = torch.from_numpy(_with_most_targets(targets, count))
        pairs = torch.from_numpy(np.random.default_rng(0).integers(0, max(stories, 1), (2, max(count - stories, 0))))
        # Divided by the root of two, so that they are about as long as stories; half their sum would be nearer to all.
        between = (views[pairs[0]].double() + views[pairs[1]].double()) / math.sqrt(2)
        self.centres = torch.cat((views[chosen].double(), between))
        self.mean, self.back = self.centres.new_zeros(count), self.centres.new_zeros(count, 0)
        if not count:
            return
        for part in torch.split(views, _AT_ONCE):
            self.mean += rbf_activations(part.double(), self.centres).sum(dim=0) / stories
        real = len(chosen)  # what lies between stories tells nothing more
        squares, axes = torch.linalg.eigh(rbf_activations(self.centres[:real], self.centres[:real]))
        keep = squares > _SMALLEST_AXIS * squares.max()
        self.back = nn.functional.pad(axes[:, keep] / squares[keep].sqrt(), (0, 0, 0, count - real))

    def features(self, rows: Tensor) -> Tensor:
        """Of the stories at ``rows``: (rows, axes) float64. Kept for the next that asks for the same."""
        key = rows.numpy().tobytes()
        if key not in self._known:
            parts = (
                rbf_activations(self._stories[part].double(), self.centres) for part in torch.split(rows, _AT_ONCE)
            )
            found = [(part - self.mean) @ self.back for part in parts] if self.count else []
            self._known[key] = torch.cat(found) if found else self.back.new_zeros(len(rows), 0)
        return self._known[key]


def _with_most_targets(targets: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Positions of ``count`` stories: those with most targets, evenly chosen where not all with as many are wanted.

    Among 6,600 stories of which one in eleven has emotions, an even choice would leave the emotions a tenth of the centres.
    """
    chosen: list[NDArray[np.int64]] = []
    for number in np.unique(targets)[::-1]:
        alike = np.flatnonzero(targets == number)
        wanted = min(count - sum(map(len, chosen)), len(alike))
        chosen.append(alike[np.linspace(0, len(alike) - 1, wanted).round().astype(np.int64)])
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64)


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
        """``views``: of those rows, float64."""
        mean = views.mean(dim=0)
        centred = views - mean
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
    """Views and RBF activations of the training situations, decomposed once for each set of them that some task annotates."""

    def __init__(self, views: Tensor, radial: _Radial, radial_weight: float) -> None:
        self.views_width = views.shape[1]
        self._radial, self._weight = radial, radial_weight
        # A view has as many units as dimensions, an RBF activation is at most 1.
        self._scale = radial_weight * math.sqrt(views.shape[1] / VIEWS)
        self._views = views
        self.width = views.shape[1] + radial.back.shape[1]
        self._known: dict[bytes, _Decomposition] = {}

    def start(self, weight: Tensor, bias: Tensor, penalties: tuple[float, ...]) -> PathStart:
        """Weights (dims, width) as those of the two paths."""
        views, radial = weight[:, : self.views_width], weight[:, self.views_width :]
        radial = self._scale * radial @ self._radial.back.T
        return PathStart(views.float(), radial.float(), bias.float(), penalties, self._weight)

    def of(self, rows: NDArray[np.int64]) -> _Decomposition:
        """Of ``rows``, or of an even sample of them where that would take too long."""
        most = MAX_FITTED if self.width <= MAX_DECOMPOSITION else MAX_DECOMPOSITION
        if len(rows) > most:
            rows = rows[np.linspace(0, len(rows) - 1, most).round().astype(np.int64)]
        key = rows.tobytes()
        if key not in self._known:
            positions = torch.from_numpy(rows)
            features = self._radial.features(positions) * self._scale
            views = torch.cat((self._views[positions].double(), features), dim=1)
            self._known[key] = _Decomposition.of(views, positions)
        return self._known[key]


@dataclass(frozen=True)
class _Try:
    """A start, and the error that its penalties were chosen by."""

    start: PathStart
    error: float


def _numbers(space: _Space, target: Tensor, known: NDArray[np.bool_]) -> _Try | None:
    """Ridge regression, each dimension's penalty by its leave-one-out error (Hastie et al., *ESL*, 2nd ed., §7.10)."""
    weight = torch.zeros(target.shape[1], space.width, dtype=torch.float64)
    bias = torch.zeros(target.shape[1], dtype=torch.float64)
    penalties: list[float] = []
    error = 0.0
    for columns, rows in _by_mask(known):
        if len(rows) < MIN_FOR_START:
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
        least, best = torch.stack(errors).min(dim=0)
        error += float(least.sum())
        for place, column in enumerate(columns):
            weight[column] = parts.axes @ solutions[int(best[place])][:, place]
            bias[column] = centre[place] - parts.mean @ weight[column]
            penalties.append(PENALTIES[int(best[place])])
    return _Try(space.start(weight, bias, tuple(penalties)), error) if penalties else None


def _by_mask(known: NDArray[np.bool_]) -> Iterator[tuple[list[int], NDArray[np.int64]]]:
    """Dimensions that are annotated in the same situations, and those situations' positions."""
    patterns, which = np.unique(known, axis=1, return_inverse=True)
    for pattern in range(patterns.shape[1]):
        columns = np.flatnonzero(which.reshape(-1) == pattern).tolist()
        yield columns, np.flatnonzero(patterns[:, pattern])


def _distribution(space: _Space, rows: NDArray[np.int64], target: Tensor, prior_log: Tensor) -> _Try:
    """Multinomial logistic regression on soft targets, relative to the prior; one penalty, by 5-fold cross-validation."""
    parts = space.of(rows)
    x, y = parts.left * parts.lengths, target[parts.rows]
    fold = torch.from_numpy(np.random.default_rng(0).permutation(len(x)) % FOLDS)
    asked = min(FOLDS, math.ceil(ENOUGH_HELD_OUT * FOLDS / len(x)))
    starts: list[Tensor | None] = [None] * asked
    best, best_error, since = 0, float("inf"), 0
    for place, penalty in enumerate(DISTRIBUTION_PENALTIES):
        error = 0.0
        for held in range(asked):
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
    return _Try(space.start(weight, bias, (DISTRIBUTION_PENALTIES[best],)), best_error)


def _logistic(x: Tensor, y: Tensor, prior_log: Tensor, penalty: float, start: Tensor | None) -> Tensor:
    """(axes + 1, dims): the minimum of the summed cross-entropy plus half the penalty times the weights' squares.

    By L-BFGS (Liu & Nocedal 1989); the last row is the bias, which is not penalised. The problem is convex. Each axis is
    stretched by the root of its second derivative where all predictions are the prior, without which short axes take
    hundreds of steps.
    """
    prior = prior_log.softmax(dim=-1)
    spread = float((prior * (1 - prior)).mean())
    ones = x.new_ones(1)
    stretch = torch.cat((spread * x.square().sum(dim=0) + penalty, spread * len(x) * ones)).rsqrt().unsqueeze(1)
    solution = (x.new_zeros(x.shape[1] + 1, y.shape[1]) if start is None else start / stretch).requires_grad_()
    optimizer = torch.optim.LBFGS([solution], max_iter=100, tolerance_grad=1e-3, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        weights = solution * stretch
        logits = x @ weights[:-1] + weights[-1] + prior_log
        loss = -(y * logits.log_softmax(dim=-1)).sum() + 0.5 * penalty * weights[:-1].square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(objective)  # type: ignore[no-untyped-call]
    return (solution * stretch).detach()
