"""Skills: what they are for the constant, for the perfect, and where there is nothing to score."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from sklearn.metrics import f1_score

from redheart.evaluation.bootstrap import Resamples
from redheart.evaluation.metrics import item_errors, macro_f1, task_metrics
from redheart.evaluation.resampled_metrics import draw, measures_of
from redheart.facts.scores import TaskScores
from redheart.tasks import TASK_BY_NAME, TASKS

COUNT = 60


def case(name: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets, a mask of all, and a constant that is not the targets' own mean."""
    generator = np.random.default_rng(seed)
    dims = len(TASK_BY_NAME[name].dimensions)
    if TASK_BY_NAME[name].is_distribution:
        target = generator.dirichlet(np.ones(dims), COUNT)
        constant = generator.dirichlet(np.ones(dims))
    else:
        target, constant = generator.random((COUNT, dims)), generator.random(dims)
    return target, np.ones((COUNT, dims), dtype=bool), constant


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_constant_predictor_has_skill_zero_exactly(task):
    target, mask, constant = case(task.name)
    scored = task_metrics(task, target, mask, np.tile(constant, (COUNT, 1)), constant)
    assert scored.skill == 0.0
    assert scored.skill == getattr(scored, task.skill)


@pytest.mark.parametrize("name", ["emotion", "bentham", "regret", "surd"])
def test_a_perfect_prediction_has_skill_one(name):
    target, mask, constant = case(name)
    assert task_metrics(TASK_BY_NAME[name], target, mask, target, constant).skill == pytest.approx(1.0, abs=1e-12)


def test_a_perfect_verdict_has_skill_one_where_the_label_is_certain_and_less_where_votes_disagree():
    task = TASK_BY_NAME["verdict"]
    target, mask, constant = case("verdict")
    certain = np.eye(5)[target.argmax(axis=1)]
    assert task_metrics(task, certain, mask, certain, constant).skill == pytest.approx(1.0, abs=1e-9)
    voted = task_metrics(task, target, mask, target, constant)
    assert 0 < voted.skill < 1 and voted.kl == pytest.approx(0.0, abs=1e-12)


def test_r2_is_against_the_training_mean_and_not_the_scored_items_own():
    task = TASK_BY_NAME["regret"]
    target, mask, constant = case("regret")
    own_mean = np.full_like(target, target.mean())
    scored = task_metrics(task, target, mask, own_mean, constant)
    expected = 1 - ((own_mean - target) ** 2).sum() / ((constant - target) ** 2).sum()
    assert scored.r2 == pytest.approx(expected) and scored.r2 > 0.01


def test_kl_is_the_divergence_of_prediction_from_target():
    task = TASK_BY_NAME["emotion"]
    target, mask, constant = case("emotion")
    prediction, _, _ = case("emotion", seed=1)
    target[0] = np.eye(7)[2]
    scored = task_metrics(task, target, mask, prediction, constant)
    with np.errstate(divide="ignore", invalid="ignore"):
        kl = np.where(target > 0, target * np.log(target / prediction), 0).sum(axis=1)
    assert scored.kl == pytest.approx(kl.mean())
    assert item_errors(task, target, mask, prediction) == pytest.approx(kl)


def test_macro_f1_is_scikit_learns_over_the_classes_that_occur():
    generator = np.random.default_rng(3)
    target, prediction = generator.integers(0, 4, 50), generator.integers(0, 5, 50)
    expected = f1_score(target, prediction, labels=np.unique(target), average="macro", zero_division=0)
    assert macro_f1(target, prediction) == pytest.approx(expected)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_masked_targets_do_not_count_whatever_they_hold(task):
    target, mask, constant = case(task.name)
    prediction, _, _ = case(task.name, seed=1)
    mask[: COUNT // 2] = False
    scored = task_metrics(task, target, mask, prediction, constant)
    target[: COUNT // 2] = np.nan
    assert task_metrics(task, target, mask, prediction, constant) == scored
    assert scored.count == COUNT // 2
    half = slice(COUNT // 2, None)
    assert task_metrics(task, target[half], mask[half], prediction[half], constant) == scored
    assert np.isnan(item_errors(task, target, mask, prediction)[: COUNT // 2]).all()


def test_one_dimension_that_is_not_annotated_leaves_the_others():
    task = TASK_BY_NAME["bentham"]
    target, mask, constant = case("bentham")
    mask[:, 6] = False
    scored = task_metrics(task, target, mask, target, constant)
    assert set(scored.dimensions) == set(task.dimensions) - {"extent"} and scored.skill == 1.0


def test_a_constant_target_that_the_constant_meets_gives_no_skill_instead_of_nan():
    for task in TASKS:
        _, mask, _ = case(task.name)
        dims = len(task.dimensions)
        constant = np.eye(dims)[0] if task.is_distribution else np.full(dims, 0.3)
        prediction, _, _ = case(task.name, seed=1)
        scored = task_metrics(task, np.tile(constant, (COUNT, 1)), mask, prediction, constant)
        assert scored.skill is None and scored.count == COUNT
        json.dumps(msgspec.to_builtins(scored), allow_nan=False)


def test_nothing_annotated_gives_a_count_of_zero_and_nothing_else():
    for task in TASKS:
        target, mask, constant = case(task.name)
        assert task_metrics(task, target, ~mask, target, constant) == TaskScores(count=0)


def test_no_metric_is_ever_nan():
    for task in TASKS:
        target, mask, constant = case(task.name)
        for prediction in (np.tile(constant, (COUNT, 1)), target, case(task.name, seed=2)[0]):
            for scored in (
                task_metrics(task, target, mask, prediction, constant),
                task_metrics(task, target[:2], mask[:2], prediction[:2], constant),
            ):
                json.dumps(msgspec.to_builtins(scored), allow_nan=False)


def smoothed(shares: np.ndarray, situations: int) -> np.ndarray:
    """The constant predictor of a training split of so many situations that all have these shares."""
    return (situations * shares + 1 / len(shares)) / (situations + 1)


@pytest.mark.parametrize("shares", [np.eye(7)[0], np.array([0.4, 0.3, 0.1, 0.1, 0.1, 0, 0]), np.full(7, 1 / 7)])
@pytest.mark.parametrize("situations", [1, 20, 156])
def test_beside_a_constant_that_lacks_only_its_smoothing_no_distribution_has_a_skill(shares, situations):
    task, prediction = TASK_BY_NAME["emotion"], case("emotion", seed=1)[0]
    target = np.tile(shares, (COUNT, 1)).astype(np.float32) + np.random.default_rng(0).normal(0, 1e-7, (COUNT, 7))
    arrays = (target, np.ones((COUNT, 7), bool), prediction, smoothed(shares, situations))
    scored = task_metrics(task, *arrays)
    assert (scored.skill, scored.kl_skill, scored.log_loss_skill) == (None, None, None) and scored.kl > 0.1
    assert "skill" not in measures_of(task, *arrays) and "kl" in measures_of(task, *arrays)


def test_one_situation_of_another_annotation_is_enough_for_a_skill_on_either_side():
    task, shares = TASK_BY_NAME["emotion"], np.eye(7)[0]
    target, mask = np.tile(shares, (COUNT, 1)), np.ones((COUNT, 7), bool)
    other = target.copy()
    other[0] = [0.9, 0.1, 0, 0, 0, 0, 0]
    constant = smoothed(shares, 156)
    assert task_metrics(task, other, mask, other, constant).skill == pytest.approx(1.0)
    trained_on_another = constant + np.array([-0.01, 0.01, 0, 0, 0, 0, 0])
    assert task_metrics(task, target, mask, target, trained_on_another).skill == pytest.approx(1.0)


@pytest.mark.parametrize("off, has_skill", [(0.0, False), (2.2e-16, False), (1e-7, False), (1e-6, False), (1e-2, True)])
def test_numbers_that_vary_by_rounding_alone_have_no_skill_and_no_ranks(off, has_skill):
    task, count = TASK_BY_NAME["regret"], 5000
    target = np.full((count, 1), 0.3) + off * (np.arange(count) % 7 == 0)[:, None]
    prediction = np.random.default_rng(0).random((count, 1))
    arrays = (target, np.ones_like(target, bool), prediction, target.mean(axis=0))
    scored, drawn = task_metrics(task, *arrays), draw(measures_of(task, *arrays), Resamples(count, 10, 0))
    assert (scored.skill is not None) is (scored.rank_correlation is not None) is has_skill and scored.mae > 0.1
    assert ("skill" in drawn) is ("rank_correlation" in drawn) is has_skill and "mae" in drawn


@pytest.mark.parametrize("off, has_skill", [(0.1, True), (0.05, False)])
def test_a_tenth_in_one_situation_of_a_thousand_is_variation_and_less_is_as_little_as_rounding(off, has_skill):
    target = np.full((1000, 1), 0.3)
    target[0] += off
    scored = task_metrics(TASK_BY_NAME["regret"], target, np.ones_like(target, bool), target, target.mean(axis=0))
    assert (scored.skill is not None) is has_skill
