"""Technique 1, calibrated on curves whose plateau is known and on curves that have none."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from sweet_spot_records import curve, fall_and_plateau

from redheart.sweet_spot import trend
from redheart.sweet_spot.change_points import cusum, straight_stretches
from redheart.sweet_spot.curves import Numbers
from redheart.sweet_spot.noise import noise_level
from redheart.sweet_spot.techniques import plateau

SEEDS = 200


def centres(shape: Numbers, noise: float) -> list[int | None]:
    """The centre found for each of ``SEEDS`` noisy copies of a curve, each analysed alone."""
    found = []
    for seed in range(SEEDS):
        loss = shape + noise * np.random.default_rng(seed).standard_normal(len(shape))
        found.append(plateau.votes({"backbone": curve(loss)}, 0.05)["backbone"].epoch)
    return found


@pytest.mark.parametrize(
    ("count", "first", "last", "rise", "noise"),
    [(60, 20, 40, 0.6, 0.02), (60, 25, 60, 0.0, 0.02), (30, 10, 20, 0.6, 0.02), (20, 7, 14, 0.6, 0.01)],
)
def test_a_known_plateau_is_found_within_two_epochs(
    count: int, first: int, last: int, rise: float, noise: float
) -> None:
    found = centres(fall_and_plateau(count, first, last, rise), noise)
    hits = sum(epoch is not None and abs(epoch - (first + last) / 2) <= 2 for epoch in found)
    assert hits / SEEDS >= 0.80


@pytest.mark.parametrize("noise", [0.01, 0.03])
@pytest.mark.parametrize(
    "shape",
    [
        lambda time: 1 - time,
        lambda time: (np.exp(-2 * time) - np.exp(-2)) / (1 - np.exp(-2)),
        lambda time: np.abs(time - 0.4) / 0.6,
    ],
    ids=["straight fall", "slowing fall", "sharp valley"],
)
@pytest.mark.parametrize("count", [20, 60])
def test_a_curve_without_a_plateau_rarely_gets_one(
    count: int, shape: Callable[[Numbers], Numbers], noise: float
) -> None:
    found = centres(shape(np.linspace(0.0, 1.0, count)), noise)
    assert sum(epoch is not None for epoch in found) / SEEDS <= 0.10


@pytest.mark.parametrize(("hump", "again"), [(33, 41), (28, 31)], ids=["wide hump", "narrow hump"])
def test_two_flat_stretches_apart_are_never_one_plateau(hump: int, again: int) -> None:
    # Flat at the best level in 11–25 and again later, with a hump between: the longer one, not both and not between.
    shape = np.interp(np.arange(1.0, 61.0), [1, 11, 25, hump, again, 60], [1.0, 0.0, 0.0, 0.5, 0.0, 0.0])
    loss = shape + 0.005 * np.random.default_rng(1).standard_normal(60)
    vote = plateau.votes({"backbone": curve(loss)}, 0.05)["backbone"]
    assert vote.epoch is not None
    first, last = vote.evidence["window"]
    assert first > hump and last == 60
    assert abs(vote.epoch - (again + 60) / 2) <= 2


def test_a_plateau_seldom_reaches_back_into_the_decline() -> None:
    # A slowing fall to epoch 20, flat to 40, then a rise. At epoch 14 there is 0.05 of 0.98 left to fall.
    epochs = np.arange(1.0, 61.0)
    shape = np.where(epochs < 20, np.exp(-(epochs - 1) / 5) - np.exp(-19 / 5), 0.0) + 0.03 * np.maximum(0, epochs - 40)
    starts = []
    for seed in range(SEEDS):
        loss = shape + 0.01 * np.random.default_rng(seed).standard_normal(60)
        evidence = plateau.votes({"backbone": curve(loss)}, 0.05)["backbone"].evidence
        starts += [evidence["window"][0]] if "window" in evidence else []
    assert len(starts) / SEEDS >= 0.8
    assert sum(start < 14 for start in starts) / len(starts) <= 0.25


def test_a_stretch_stuck_at_a_bad_level_is_not_a_plateau() -> None:
    epochs = np.arange(1.0, 61.0)
    loss = np.interp(epochs, [1, 30, 60], [1.0, 1.0, 0.0]) + 0.005 * np.random.default_rng(2).standard_normal(60)
    assert plateau.votes({"backbone": curve(loss)}, 0.05)["backbone"].abstains


def test_epochs_are_the_recorded_numbers_when_the_records_start_late() -> None:
    loss = fall_and_plateau(40, 10, 30, 0.6) + 0.005 * np.random.default_rng(3).standard_normal(40)
    vote = plateau.votes({"backbone": curve(loss, epochs=np.arange(101, 141))}, 0.05)["backbone"]
    assert vote.epoch is not None and abs(vote.epoch - 120) <= 2


def test_a_constant_curve_makes_it_abstain() -> None:
    assert plateau.votes({"backbone": curve(np.zeros(30))}, 0.05)["backbone"].abstains


def test_pure_noise_makes_it_abstain() -> None:
    assert sum(epoch is not None for epoch in centres(np.zeros(30), 1.0)) / SEEDS <= 0.05


def test_a_perfect_line_has_no_plateau() -> None:
    vote = plateau.votes({"backbone": curve(np.linspace(1, 0, 30))}, 0.05)["backbone"]
    assert vote.reason.key == "sweet_spot.plateau.steady_fall"


def test_few_epochs_get_a_contiguous_stretch_at_little_confidence() -> None:
    vote = plateau.votes({"backbone": curve([1.0, 0.50, 0.51, 0.9, 0.505])}, 0.05)["backbone"]
    assert (vote.epoch, vote.evidence["window"]) == (2, [2, 3])  # 5 is as good, but 4 lies between
    assert vote.confidence <= plateau.SHORT_RUN_CONFIDENCE


def test_false_discoveries_are_controlled_over_modules() -> None:
    p_values = {f"m{number}": value for number, value in enumerate([0.001, 0.04, 0.04, 0.9])}
    adjusted = trend.control_false_discoveries(p_values)
    # Benjamini–Hochberg by hand: p · 4 / rank, made monotone from the largest down.
    assert list(adjusted.values()) == pytest.approx([0.004, 0.04 * 4 / 3, 0.04 * 4 / 3, 0.9])
    assert trend.control_false_discoveries({}) == {}


def test_the_cusum_test_keeps_its_level_and_sees_a_bend() -> None:
    epochs = np.arange(1, 31)
    line = np.linspace(1, 0, 30)
    false = 0
    for seed in range(SEEDS):
        values = line + 0.05 * np.random.default_rng(seed).standard_normal(30)
        level = noise_level(values)
        assert level is not None
        false += cusum(epochs, values, level).p_value <= 0.05
    assert false / SEEDS <= 0.09  # 5 % and two standard errors of 200 trials
    bent = fall_and_plateau(30, 15, 30, 0.0) + 0.03 * np.random.default_rng(0).standard_normal(30)
    assert cusum(epochs, bent, 0.03).p_value <= 0.01


def test_straight_stretches_cover_the_curve_and_cut_it_at_its_bends() -> None:
    shape = fall_and_plateau(60, 20, 40, 0.8)
    values = shape + 0.005 * np.random.default_rng(0).standard_normal(60)
    stretches = straight_stretches(np.arange(1, 61), values, 0.005)
    assert stretches[0][0] == 0 and stretches[-1][1] == 60
    assert all(before[1] == after[0] for before, after in itertools.pairwise(stretches))
    starts = [start + 1 for start, _ in stretches]
    assert min(abs(start - 20) for start in starts) <= 1 and min(abs(start - 40) for start in starts) <= 1


def test_the_noise_level_does_not_mistake_a_steep_start_for_noise() -> None:
    estimates = [
        noise_level(np.exp(-np.arange(40) / 4) + 0.02 * np.random.default_rng(seed).standard_normal(40))
        for seed in range(50)
    ]
    assert np.median(np.array(estimates, dtype=float)) == pytest.approx(0.02, rel=0.25)
    assert noise_level(np.zeros(6)) is None


def test_the_trend_test_knows_of_autocorrelation_from_so_many_epochs_on() -> None:
    values = np.random.default_rng(0).standard_normal(trend.MIN_FOR_AUTOCORRELATION)
    assert trend.mann_kendall(values).test == "hamed_rao" and trend.mann_kendall(values[1:]).test == "original"
