"""Skills: what they are for the constant, for the perfect, and where there is nothing to score."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from sklearn.metrics import f1_score

from redheart.evaluation.metrics import item_errors, macro_f1, task_metrics
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
