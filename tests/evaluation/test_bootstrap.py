"""Intervals that hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from redheart.errors import Interrupted
from redheart.evaluation.bootstrap import Resamples, paired_difference


def test_the_interval_covers_a_known_difference_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        hardness = generator.gamma(2.0, 1.0, 80)
        reference = hardness + 0.1 * generator.standard_normal(80)
        candidate = hardness - 0.05 + 0.1 * generator.standard_normal(80)
        found = paired_difference(candidate, reference, Resamples(80, 400, trial), 0.9)
        assert found is not None
        covered += found.low <= -0.05 <= found.high
    assert 165 <= covered <= 187  # 90 % of 200 is 180, give or take 4; percentile intervals are a little short


def test_pairing_finds_a_difference_that_is_small_beside_the_spread_of_items() -> None:
    generator = np.random.default_rng(2)
    hardness = generator.gamma(2.0, 5.0, 100)
    candidate = hardness - 0.05 + 0.02 * generator.standard_normal(100)
    found = paired_difference(candidate, hardness, Resamples(100, 1000, 0), 0.95)
    assert found is not None and found.high < 0 and found.probability_better == 1.0


def test_no_difference_is_a_coin_toss_within_noise() -> None:
    generator = np.random.default_rng(3)
    noise = generator.standard_normal(400)
    found = paired_difference(noise - noise.mean() + 1, np.ones(400), Resamples(400, 2000, 0), 0.95)
    assert found is not None and found.low < 0 < found.high
    assert found.probability_better == pytest.approx(0.5, abs=0.05)


def test_the_guarded_interval_is_wider_for_more_rivals() -> None:
    losses = np.random.default_rng(4).standard_normal(60)
    one, five = (
        paired_difference(losses, np.zeros(60), Resamples(60, 2000, 0), 0.95, comparisons=count) for count in (1, 5)
    )
    assert one is not None and five is not None
    assert (one.guarded_low, one.guarded_high) == (one.low, one.high)
    assert five.guarded_low < five.low and five.guarded_high > five.high


def test_items_without_a_loss_are_left_out_and_one_item_gives_no_interval() -> None:
    losses = np.array([0.5, np.nan, 0.7])
    found = paired_difference(losses, np.array([0.4, 0.4, 0.4]), Resamples(3, 200, 0), 0.95)
    assert found is not None and found.count == 2 and found.mean == pytest.approx(0.2)
    assert paired_difference(losses[:1], losses[:1], Resamples(1, 200, 0), 0.95) is None


def test_resamples_repeat_with_their_seed_and_draw_as_many_as_there_are() -> None:
    ones = np.ones((7, 1))
    assert (Resamples(7, 50, 3).sums(ones) == 7).all()
    columns = np.arange(7.0)[:, None]
    assert (Resamples(7, 50, 3).sums(columns) == Resamples(7, 50, 3).sums(columns)).all()
    assert (Resamples(7, 50, 3).sums(columns) != Resamples(7, 50, 4).sums(columns)).any()


def test_resampling_is_stopped_between_its_pieces() -> None:
    asked: list[bool] = []

    def should_stop() -> bool:
        asked.append(len(asked) == 2)
        return asked[-1]

    columns = np.ones((1_000_000, 1))
    with pytest.raises(Interrupted, match="the same command does it again"):
        Resamples(len(columns), 100, 0, should_stop).sums(columns)
    assert asked == [False, False, True], "two resamples of a million at a time"


def test_equal_losses_are_a_coin_toss_to_the_digit() -> None:
    """Every resample's difference is nothing, and counts as half."""
    found = paired_difference(np.ones(30), np.ones(30), Resamples(30, 100, 0), 0.95)
    assert found is not None and found.probability_better == 0.5 and found.low == found.high == 0.0
