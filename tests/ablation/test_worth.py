"""How sure a worth is: the interval covers what it should, holds both spreads, and many tests are not one."""

from __future__ import annotations

import numpy as np
import pytest

from redheart.ablation.result import Row, compare
from redheart.ablation.scores import METRICS
from redheart.ablation.worth import beyond_noise, estimate, worth_of
from redheart.evaluation.bootstrap import Draws, Resamples

KL, R2, *_ = METRICS
ITEMS = 60


def crossed(generator: np.random.Generator, seeds: int, spreads: tuple[float, float, float], mean: float) -> np.ndarray:
    """(seeds, items) differences: a share of the seed, one of the situation, and one of both together."""
    of_seed, of_situation, of_both = spreads
    return (
        mean
        + of_seed * generator.standard_normal((seeds, 1))
        + of_situation * generator.standard_normal((1, ITEMS))
        + of_both * generator.standard_normal((seeds, ITEMS))
    )


def draws(by_item: np.ndarray, samples: int = 100) -> list[Draws]:
    sums = Resamples(ITEMS, samples, 0).sums(by_item.T)
    return [Draws(float(row.mean()), sums[:, index] / ITEMS) for index, row in enumerate(by_item)]


def worth(by_item: np.ndarray, confidence: float = 0.95, metric=R2):  # type: ignore[no-untyped-def]
    whole = [{metric.name: one} for one in draws(by_item)]
    nothing = [{metric.name: one} for one in draws(np.zeros_like(by_item))]
    return worth_of(whole, nothing, metric, ITEMS, confidence)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(
    "spreads",
    [(0.3, 1.0, 0.3), (1.0, 0.1, 0.1), (0.0, 1.0, 1.0), (0.1, 0.5, 3.0)],
    ids=["both", "seeds", "items", "mixed"],
)
def test_a_95_percent_interval_holds_the_truth_in_about_95_percent(
    seeds: int, spreads: tuple[float, float, float]
) -> None:
    generator = np.random.default_rng(1)
    found = [worth(crossed(generator, seeds, spreads, 0.2)) for _ in range(300)]
    covered = np.mean([one.low <= 0.2 <= one.high for one in found])
    rejected = np.mean([worth(crossed(generator, seeds, spreads, 0.0)).p_value < 0.05 for _ in range(300)])
    # 300 tries of 0.95 have a standard error of 0.013; the interaction is counted twice, so it may be wider.
    assert covered > 0.95 - 3 * 0.013
    assert rejected < 0.05 + 3 * 0.013


def test_the_interval_is_no_wider_than_it_must_be() -> None:
    """Where only situations vary, it is that of the plain paired t."""
    by_item = np.repeat(np.random.default_rng(2).standard_normal((1, ITEMS)), 4, axis=0)
    found = worth(by_item)
    plain = 2.0 * by_item[0].std(ddof=1) / ITEMS**0.5
    assert found.from_seeds == 0.0 and found.margin == pytest.approx(plain, rel=0.15)


def test_the_spread_of_the_seeds_is_in_it_too() -> None:
    by_item = np.zeros((3, ITEMS)) + np.array([[0.9], [1.0], [1.1]])
    found = worth(by_item)
    assert found.from_situations == pytest.approx(0.0, abs=1e-12)
    assert found.margin == pytest.approx(4.303 * 0.1 / 3**0.5, rel=1e-3)  # t of 2 degrees of freedom


def test_worth_points_to_the_better_whatever_the_metric() -> None:
    by_item = np.full((3, ITEMS), 0.5) + np.arange(3)[:, None] * 0.01
    assert worth(by_item, metric=R2).mean == pytest.approx(0.51)  # the whole's R² is larger: the part helps
    assert worth(by_item, metric=KL).mean == pytest.approx(-0.51)  # the whole's KL is larger: it harms


def test_equal_predictions_are_worth_exactly_nothing() -> None:
    found = worth(np.zeros((3, ITEMS)))
    assert (found.mean, found.margin, found.p_value) == (0.0, 0.0, 1.0)


def test_resamples_in_which_nothing_could_be_scored_are_left_out() -> None:
    resampled = np.array([0.1, np.nan, 0.3, 0.2])
    assert np.isfinite(estimate(np.array([0.1, 0.2]), resampled, ITEMS, 0.95).margin)


def test_a_metric_that_one_of_them_could_not_be_scored_in_is_left_out() -> None:
    whole = [{"mean_r2": one} for one in draws(np.ones((2, ITEMS)))]
    assert worth_of(whole, [{}, {}], R2, ITEMS, 0.95) is None


def test_many_tests_are_not_one() -> None:
    """A p-value of 0.03 among thirty is what chance brings; alone it would count."""
    thirty = {("group", str(number)): (number + 1) / 32 for number in range(31)}
    assert min(thirty.values()) < 0.05 and beyond_noise(thirty, 0.05) == set()
    assert beyond_noise({("group", "0"): 0.03}, 0.05) == {("group", "0")}
    assert beyond_noise({**thirty, ("other", "x"): 1e-5}, 0.05) == {("other", "x")}
    assert beyond_noise({}, 0.05) == set()


def test_the_verdict_names_the_metrics_that_say_so() -> None:
    generator = np.random.default_rng(3)
    sized = {"helps": 1.0, "harms": -1.0, "nothing": 0.0}
    scores = {
        name: [
            {metric.name: one for metric in (KL, R2)} for one in draws(crossed(generator, 5, (0.1, 0.3, 0.1), -size))
        ]
        for name, size in sized.items()
    }
    scores["whole"] = [{metric.name: one for metric in (KL, R2)} for one in draws(np.zeros((5, ITEMS)))]
    rows = [Row(name, 1, (1,) * 5, {}, {}) for name in ("whole", *sized)]
    whole, *others = compare(rows, scores, ITEMS, 0.95)
    assert whole.worth == {}
    verdicts = {row.variant: row.verdict for row in others}
    assert verdicts == {
        "helps": "worth something: mean R²; harmful: emotion KL",
        "harms": "worth something: emotion KL; harmful: mean R²",
        "nothing": "nothing beyond noise",
    }
