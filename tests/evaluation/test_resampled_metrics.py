"""Every metric as a function of sums: the same value as the metric itself, and intervals that hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from redheart.evaluation.bootstrap import Draws, Resamples
from redheart.evaluation.metrics import task_metrics
from redheart.evaluation.resampled_metrics import draw, measures_of
from redheart.tasks import TASK_BY_NAME, TASKS, Task


def scored(task: Task, count: int = 90, seed: int = 5):
    """Targets of which some are missing, guesses that know something of them, and a constant."""
    generator = np.random.default_rng(seed)
    dims = len(task.dimensions)
    target = generator.dirichlet(np.ones(dims), count) if task.is_distribution else generator.random((count, dims))
    noise = generator.dirichlet(np.ones(dims), count) if task.is_distribution else generator.random((count, dims))
    prediction = 0.6 * target + 0.4 * noise
    mask = np.repeat(generator.random((count, 1)) < 0.8, dims, axis=1)
    if not task.is_distribution:
        mask = generator.random((count, dims)) < 0.8
    return target, mask, prediction, target.mean(axis=0)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_metric_of_sums_is_the_metric(task: Task) -> None:
    arrays = scored(task)
    reported = task_metrics(task, *arrays)
    found = draw(measures_of(task, *arrays), Resamples(90, 100, 0))
    for name, drawn in found.items():
        metric, _, dimension = name.partition(".")
        wanted = getattr(reported.dimensions[dimension] if dimension else reported, metric)
        assert drawn.value == pytest.approx(wanted, abs=1e-9), name
    names = {"skill", "kl", "log_loss", "accuracy", "macro_f1"} if task.is_distribution else {"skill", "r2", "mae"}
    assert names <= set(found)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_intervals_are_around_the_metric_and_shrink_onto_it_where_all_situations_are_alike(task: Task) -> None:
    arrays = scored(task)
    for name, drawn in draw(measures_of(task, *arrays), Resamples(90, 500, 0)).items():
        estimate = drawn.estimate(0.95)
        assert estimate.low is not None and estimate.high is not None, name
        assert estimate.low < estimate.value < estimate.high, name
        assert estimate.high - estimate.low < 0.8, name
    target, mask, prediction, constant = arrays
    same = [np.repeat(array[mask.all(axis=1)][:1], 5, axis=0) for array in (target, mask, prediction)]
    again = task_metrics(task, *same, constant).skill
    estimate = draw(measures_of(task, *same, constant), Resamples(5, 100, 0))["skill"].estimate(0.95)
    assert (estimate.low, estimate.high) == pytest.approx((again, again), abs=1e-9)


@pytest.mark.parametrize("name", ["skill", "macro_f1"])
def test_a_resample_has_the_metric_of_the_situations_that_it_drew(name: str) -> None:
    """Of a metric that is no mean over situations too; by drawing them and scoring them as they were drawn."""
    task = TASK_BY_NAME["verdict"]
    target, mask, prediction, constant = scored(task, 30)
    drawn = draw(measures_of(task, target, mask, prediction, constant), Resamples(30, 3, 7))[name]
    generator = np.random.default_rng(7)
    for row, chosen in enumerate(generator.integers(0, 30, size=(3, 30))):
        again = task_metrics(task, target[chosen], mask[chosen], prediction[chosen], constant)
        assert drawn.resampled[row] == pytest.approx(getattr(again, name))


def test_the_interval_of_a_correlation_covers_it_as_often_as_it_says() -> None:
    task = TASK_BY_NAME["regret"]
    true = 6 / np.pi * np.arcsin(0.6 / 2)  # Spearman's of a normal pair with Pearson's 0.6
    covered = 0
    for trial in range(200):
        pair = np.random.default_rng(trial).multivariate_normal([0.5, 0.5], [[0.01, 0.006], [0.006, 0.01]], 100)
        arrays = (pair[:, :1], np.ones((100, 1), bool), pair[:, 1:], np.array([0.5]))
        estimate = draw(measures_of(task, *arrays), Resamples(100, 400, trial))["rank_correlation"].estimate(0.9)
        covered += estimate.low <= true <= estimate.high
    assert 165 <= covered <= 192


def test_pairing_finds_a_difference_that_is_small_beside_the_spread_of_situations() -> None:
    task = TASK_BY_NAME["regret"]
    generator = np.random.default_rng(2)
    target = generator.random((120, 1))
    rough = target + generator.normal(0, 0.2, (120, 1))
    better = target + 0.97 * (rough - target)
    everywhere = np.ones_like(target, dtype=bool)
    resamples = Resamples(120, 1000, 0)
    a, b = (
        draw(measures_of(task, target, everywhere, guess, np.array([0.5])), resamples)["skill"]
        for guess in (better, rough)
    )
    paired = (a - b).estimate(0.95)
    assert paired.low > 0, "each situation is scored by both"
    shuffled = Draws(b.value, np.random.default_rng(0).permutation(b.resampled))
    unpaired = (a - shuffled).estimate(0.95)
    assert unpaired.low < 0 < unpaired.high, "which resamples drawn apart would not have shown"


def test_without_targets_there_is_nothing_and_with_few_no_interval() -> None:
    for task in TASKS:
        empty = np.zeros((4, len(task.dimensions)))
        constant = np.full(len(task.dimensions), 1 / len(task.dimensions))
        assert measures_of(task, empty, empty.astype(bool), empty, constant) == {}
    task = TASK_BY_NAME["verdict"]
    target, mask, prediction, constant = scored(task, 200)
    mask[:] = False
    mask[0] = True
    drawn = draw(measures_of(task, target, mask, prediction, constant), Resamples(200, 300, 0))
    assert drawn["accuracy"].estimate(0.95).low is not None
    assert draw({}, Resamples(4, 100, 0)) == {}
    few = Draws(0.5, np.array([0.1, np.nan, np.nan]))
    assert (few.estimate(0.9).low, few.estimate(0.9).high) == (None, None)
