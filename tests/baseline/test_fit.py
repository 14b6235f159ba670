"""The baseline is as strong as a linear model is, and says where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from redheart.baseline.fit import MIN_ROWS, fit_baseline
from redheart.baseline.shares import PENALTIES, fit_shares, smoothed
from redheart.errors import Interrupted
from redheart.facts.comparison import FittedTask
from redheart.tasks import TASK_BY_NAME, TASKS


def linear_world(count: int, features: int = 12, seed: int = 0):
    """Features, and targets of all tasks that follow from them linearly, with a little noise."""
    weights = np.random.default_rng(99).standard_normal((features, 24))
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((count, features)) / np.sqrt(features)
    scores = x @ weights + 0.1 * generator.standard_normal((count, 24))
    targets = {
        "emotion": softmax(2 * scores[:, :7], axis=1),
        "bentham": np.clip(0.5 + 0.1 * scores[:, 7:14], 0, 1),
        "regret": np.clip(0.5 + 0.1 * scores[:, 14:15], 0, 1),
        "surd": np.clip(0.5 + 0.1 * scores[:, 15:19], 0, 1),
        "verdict": softmax(2 * scores[:, 19:24], axis=1),
    }
    return x, targets, {name: np.ones(values.shape, bool) for name, values in targets.items()}


def test_what_is_linear_is_found_from_a_few_situations_in_natural_units() -> None:
    baseline = fit_baseline(*linear_world(120))
    x, targets, _ = linear_world(60, seed=1)
    found = baseline.predict(x)
    for name, values in targets.items():
        assert found[name].shape == values.shape
        assert found[name].min() >= 0 and found[name].max() <= 1
        assert 1 - ((found[name] - values) ** 2).sum() / ((values - values.mean(axis=0)) ** 2).sum() > 0.8, name
    assert found["emotion"].sum(axis=1) == pytest.approx(np.ones(60))
    assert not baseline.absent and baseline.rows == dict.fromkeys(targets, 120)


def test_noise_is_answered_with_the_constant() -> None:
    """The penalty is chosen on rows that were left out, or a baseline of as many weights as rows would do worse than nothing."""
    generator = np.random.default_rng(3)
    _, targets, masks = linear_world(100)
    baseline = fit_baseline(generator.standard_normal((100, 300)), targets, masks)
    fresh = baseline.predict(generator.standard_normal((200, 300)))
    for name, values in targets.items():
        away = np.abs(fresh[name] - values.mean(axis=0)).mean()
        assert away < 0.25 * np.abs(values - values.mean(axis=0)).mean(), name


@pytest.mark.parametrize("shape", [(40, 6), (30, 60)])
def test_the_regression_on_shares_is_scikit_learns_on_weighted_repetitions(shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(4)
    x = generator.standard_normal(shape)
    shares = generator.dirichlet(np.full(4, 0.4), shape[0])
    fitted = fit_shares(x, shares)
    theirs = LogisticRegression(C=1 / fitted.penalty, max_iter=10_000, tol=1e-9)
    repeated, classes = np.repeat(x, 4, axis=0), np.tile(np.arange(4), len(x))
    theirs.fit(repeated, classes, sample_weight=smoothed(shares).ravel())
    assert fitted.predict(x) == pytest.approx(theirs.predict_proba(x), abs=1e-4)
    assert PENALTIES[-1] <= fitted.penalty <= PENALTIES[0]


def test_a_class_that_nobody_chose_gets_a_small_share_and_not_none() -> None:
    generator = np.random.default_rng(5)
    shares = np.zeros((50, 5))
    shares[:, :2] = generator.dirichlet(np.ones(2), 50)
    found = fit_shares(generator.standard_normal((50, 8)), shares).predict(generator.standard_normal((9, 8)))
    assert (found[:, 2:] > 1e-4).all() and (found[:, 2:] < 0.02).all()


def test_only_annotated_numbers_are_fitted() -> None:
    """What stands where the mask is False is never read: a hundred rows of it change nothing."""
    x, targets, masks = linear_world(200)
    for name in targets:
        masks[name][100:] = False
    clean = fit_baseline(x[:100], {n: v[:100] for n, v in targets.items()}, {n: m[:100] for n, m in masks.items()})
    for name in targets:
        targets[name][100:] = 0.0
    masked = fit_baseline(x, targets, masks)
    for name in targets:
        assert masked.predict(x)[name] == pytest.approx(clean.predict(x)[name], abs=1e-6), name


def test_a_single_target_gives_a_single_baseline_and_reasons_for_the_others() -> None:
    x, targets, masks = linear_world(60)
    for name in targets:
        if name != "regret":
            masks[name][:] = False
    masks["verdict"][: MIN_ROWS - 1] = True
    baseline = fit_baseline(x, targets, masks)
    assert set(baseline.predict(x)) == {"regret"}
    assert set(baseline.absent) == {task.name for task in TASKS} - {"regret"}
    assert baseline.absent["emotion"] == f"0 of 60 training situations have a target, wanted at least {MIN_ROWS}"
    assert baseline.absent["verdict"].startswith(f"{MIN_ROWS - 1} of 60")
    assert baseline.record()["emotion"] == FittedTask(absent=baseline.absent["emotion"])
    assert baseline.record()["regret"].kind == "ridge"


def test_a_dimension_that_hardly_occurs_is_answered_with_its_mean() -> None:
    x, targets, masks = linear_world(80)
    column = TASK_BY_NAME["bentham"].dimensions.index("fecundity")
    masks["bentham"][:, column] = False
    masks["bentham"][:5, column] = True
    baseline = fit_baseline(x, targets, masks)
    found = baseline.predict(x)["bentham"]
    assert found[:, column] == pytest.approx(np.full(80, targets["bentham"][:5, column].mean()))
    assert found[:, column - 1].std() > 0.01
    penalties = baseline.record()["bentham"].penalties
    assert penalties["fecundity"] is None and penalties["purity"] is not None


def test_features_of_other_rows_than_the_targets_are_refused() -> None:
    x, targets, masks = linear_world(40)
    with pytest.raises(ValueError, match="40 targets for 39 rows"):
        fit_baseline(x[:39], targets, masks)


@pytest.mark.parametrize("number", [1, 3, 30])
def test_a_stop_ends_the_fit_at_its_next_step(number: int) -> None:
    asked: list[None] = []

    def should_stop() -> bool:
        asked.append(None)
        return len(asked) == number

    with pytest.raises(Interrupted, match="stopped while the baseline was fitted"):
        fit_baseline(*linear_world(60), should_stop=should_stop)
    assert len(asked) == number
