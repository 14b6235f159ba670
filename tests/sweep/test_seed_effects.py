"""Seed effects: what a lucky seed adds is told from what a learning rate does."""

from __future__ import annotations

import pytest

from redheart.sweep.seed_effects import Observation, additive_parts, mean_losses


def test_a_lucky_seed_does_not_make_the_learning_rate_that_was_repeated_win() -> None:
    """Seed 1 lowers every loss by 0.05, and only the second best learning rate was run under it."""
    results = [
        Observation(1e-4, 1.00, 0),
        Observation(3e-4, 0.99, 0),
        Observation(1e-3, 1.02, 0),
        Observation(1e-4, 0.95, 1),
    ]
    losses = mean_losses(results)
    assert losses == pytest.approx({1e-4: 1.00, 3e-4: 0.99, 1e-3: 1.02})
    assert min(losses, key=lambda rate: losses[rate]) == 3e-4


def test_rates_and_seeds_are_told_apart_by_least_squares() -> None:
    rates, seeds = {1e-4: 1.0, 2e-4: 0.9, 4e-4: 1.1}, {0: 0.0, 1: 0.03, 2: -0.02}
    runs = [(rate, 0) for rate in rates] + [(1e-4, 1), (2e-4, 1), (2e-4, 2), (4e-4, 2)]
    found, parts = additive_parts([Observation(rate, rates[rate] + seeds[seed], seed) for rate, seed in runs])
    assert found == pytest.approx(rates, abs=1e-9)
    assert parts == pytest.approx(seeds, abs=1e-9)
