"""The planner: a pure function from what is known to the next five trials.

Stage 0 spreads its points evenly in log space over the configured range, ends included. Each later stage zooms: its
bracket reaches from the left to the right neighbour of the best learning rate so far, and its points divide the two
gaps beside the best as evenly as they can. Where the best is the lowest or highest tested, the minimum may lie outside:
the bracket then reaches one gap of the first stage beyond it, at most ``EXTENSION`` times past the configured range;
where even that is used up it is one-sided.

The resolution (10 %): a point that is tested already is moved in steps of 10 % to the nearest free place inside the
stage's bracket, up before down; without such a place the trial becomes a repeat, under a new seed, of the best learning
rates so far. That is where late stages spend their trials, and it is what they are for: there the spacing is below what
the sweep can tell apart, and repeats measure the noise and guard against a lucky winner.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from redheart.config import SweepConfig
from redheart.sweep.learning_rate_keys import nearest_tested, round_to_spacing, shortened, step
from redheart.sweep.seed_effects import Observation, mean_losses

#: How far past the configured range a bracket may be extended when the best lies at its edge.
EXTENSION = 10.0
#: Among how many of the best learning rates the repeats of a stage are shared out.
REPEAT_CANDIDATES = 3
Placement = Literal["grid", "moved_tested", "moved_close", "repeat"]


class PlannedTrial(msgspec.Struct, frozen=True):
    """One point of a stage.

    Attributes:
        wanted: where the grid wanted it, before the resolution was applied.
        placement: ``grid`` – there; ``moved_tested`` – moved off a tested one; ``moved_close`` – moved off a point of
            the same stage; ``repeat`` – no free place, so one of the best again under a new seed.
    """

    point: int
    learning_rate: float
    seed: int
    wanted: float
    placement: Placement


class StagePlan(msgspec.Struct, frozen=True):
    """The trials of one stage and the bracket that holds every new learning rate among them (ends included)."""

    stage: int
    low: float
    high: float
    trials: tuple[PlannedTrial, ...]


def plan_stage(
    stage: int, settings: SweepConfig, seed: int, history: Sequence[Observation], results: Sequence[Observation]
) -> StagePlan:
    """The plan of ``stage``.

    Args:
        seed: of the initial weights and data order of every trial that is not a repeat.
        history: every trial ever recorded here, this sweep's included: decides what is tested already.
        results: this sweep's own trials of the earlier stages: they alone decide where to look, because losses under
            another configuration or other data are not comparable.
    """
    if stage == 0:
        low, high = settings.lr_min, settings.lr_max
        grid = _grid_over_range(low, high, settings.points)
    else:
        low, high, grid = _zoom(settings, results)
    trials = _place(grid, low, high, settings.min_spacing, seed, history, results)
    return StagePlan(stage, low, high, trials)


def _grid_over_range(low: float, high: float, points: int) -> list[float]:
    spacing = math.log(high / low) / (points - 1)
    inner = [round_to_spacing(low * math.exp(spacing * index), spacing) for index in range(1, points - 1)]
    return [low, *inner, high]


def _zoom(settings: SweepConfig, results: Sequence[Observation]) -> tuple[float, float, list[float]]:
    """Bracket and grid around the best of ``results``; below all of them when every one diverged."""
    tested = sorted({result.learning_rate for result in results})
    if not tested:
        raise ValueError("a later stage needs the results of the earlier ones")
    floor, ceiling = settings.lr_min / EXTENSION, settings.lr_max * EXTENSION
    losses = mean_losses(results)
    if not losses:  # everything diverged: the learning rates were too high
        high = tested[0]
        low = max(floor, high / (settings.lr_max / settings.lr_min))
        return (low, high, _fill(low, high, settings.points)) if low < high else (high, high, [high] * settings.points)
    best = min(losses, key=lambda learning_rate: (losses[learning_rate], learning_rate))
    index = tested.index(best)
    below = tested[index - 1] if index > 0 else None
    above = tested[index + 1] if index + 1 < len(tested) else None
    reach = (settings.lr_max / settings.lr_min) ** (1 / (settings.points - 1))  # one gap of the first stage
    low = below if below is not None else max(floor, best / reach)
    high = above if above is not None else min(ceiling, best * reach)
    low, high = min(low, best), max(high, best)
    if low == high:
        return low, high, [best] * settings.points
    left = _left_share(math.log(best / low), math.log(high / best), settings.points)
    return low, high, [*_fill(low, best, left), *_fill(best, high, settings.points - left)]


def _left_share(left_width: float, right_width: float, points: int) -> int:
    """How many of ``points`` go left of the best so that the widest gap is as narrow as can be; a tie goes left."""

    def widest(left: int) -> tuple[float, int]:
        right = points - left
        gaps = (left_width / (left + 1), right_width / (right + 1))
        return (round(max(gaps), 9), -left)

    options = range(points + 1) if left_width > 0 and right_width > 0 else (points if left_width > 0 else 0,)
    return min(options, key=widest)


def _fill(low: float, high: float, points: int) -> list[float]:
    """``points`` new points that divide the gap between two tested ones evenly in log space."""
    spacing = math.log(high / low) / (points + 1)
    return [round_to_spacing(low * math.exp(spacing * index), spacing) for index in range(1, points + 1)]


def _place(
    grid: Sequence[float],
    low: float,
    high: float,
    min_spacing: float,
    seed: int,
    history: Sequence[Observation],
    results: Sequence[Observation],
) -> tuple[PlannedTrial, ...]:
    tested = sorted({past.learning_rate for past in history})
    placed: dict[int, PlannedTrial] = {}
    taken: list[float] = []
    for point, wanted in enumerate(grid):  # what may stay where it is stays, whatever its neighbours have to do
        if nearest_tested(wanted, (*tested, *taken), min_spacing) is None:
            placed[point] = PlannedTrial(point, wanted, seed, wanted, "grid")
            taken.append(wanted)
    repeats: list[int] = []
    for point, wanted in enumerate(grid):
        if point in placed:
            continue
        free = _nearest_free(wanted, low, high, (*tested, *taken), min_spacing)
        if free is None:
            repeats.append(point)
            continue
        clash = nearest_tested(wanted, tested, min_spacing)
        placed[point] = PlannedTrial(point, free, seed, wanted, "moved_close" if clash is None else "moved_tested")
        taken.append(free)
    for point, (learning_rate, new_seed) in zip(
        repeats, _repeats(len(repeats), grid, seed, history, results), strict=True
    ):
        placed[point] = PlannedTrial(point, learning_rate, new_seed, grid[point], "repeat")
    return tuple(placed[point] for point in range(len(grid)))


def _nearest_free(wanted: float, low: float, high: float, taken: Sequence[float], min_spacing: float) -> float | None:
    """The nearest place, whole steps away and inside the bracket, that is not tested; up before down.

    It is rounded as far as it stays such a place.
    """
    slack = 1.0 + 1e-9

    def is_free(candidate: float) -> bool:
        inside = low / slack <= candidate <= high * slack
        return inside and nearest_tested(candidate, taken, min_spacing) is None

    steps = 1
    while True:
        above, below = step(wanted, steps, min_spacing), step(wanted, -steps, min_spacing)
        if above > high * slack and below < low / slack:
            return None
        for candidate in (above, below):
            if is_free(candidate):
                return shortened(candidate, is_free)
        steps += 1


def _repeats(
    count: int, grid: Sequence[float], seed: int, history: Sequence[Observation], results: Sequence[Observation]
) -> list[tuple[float, int]]:
    """``count`` pairs of learning rate and seed: the best so far, those with the fewest runs first.

    This sweep's own results say which are best; before there are any, the history's do; and where nothing anywhere
    has a loss, the grid itself is repeated.
    """
    own = mean_losses(results)
    losses = own or mean_losses(history)
    breadth = REPEAT_CANDIDATES if own else len(grid)  # with nothing of its own yet a stage keeps its breadth
    best = sorted(losses, key=lambda learning_rate: (losses[learning_rate], learning_rate))[:breadth] or list(
        dict.fromkeys(grid)
    )
    runs = {learning_rate: sum(result.learning_rate == learning_rate for result in results) for learning_rate in best}
    used: dict[float, set[int]] = {learning_rate: {seed} for learning_rate in best}
    for past in (*history, *results):
        if past.learning_rate in used and past.seed is not None:
            used[past.learning_rate].add(past.seed)
    chosen = []
    for _ in range(count):
        learning_rate = min(best, key=lambda candidate: (runs[candidate], best.index(candidate)))
        new_seed = seed + 1
        while new_seed in used[learning_rate]:
            new_seed += 1  # counted up alike for all, so that repeats of different learning rates pair up by seed
        used[learning_rate].add(new_seed)
        runs[learning_rate] += 1
        chosen.append((learning_rate, new_seed))
    return chosen
