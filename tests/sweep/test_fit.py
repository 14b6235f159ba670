"""The fit, the noise and the choice; and the file in which the choice is handed on."""

from __future__ import annotations

import json
import math
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest

from redheart.config import SweepConfig
from redheart.errors import NotYetDone, StorageError
from redheart.sweep.fit import _parabola, fit_learning_rate
from redheart.sweep.optimal import read_optimal_lr, write_optimal_lr
from redheart.sweep.planner import plan_stage
from redheart.sweep.seed_effects import Observation
from redheart.sweep.store import fold_entries
from redheart.sweep.trials import Trial


def sweep_of(loss):
    results: list[Observation] = []
    for stage in range(5):
        plan = plan_stage(stage, SweepConfig(), 0, results, results)
        results += [Observation(t.learning_rate, loss(t.learning_rate, t.seed), t.seed) for t in plan.trials]
    return results


def noisy(best, noise, generator, curvature=0.08):
    return lambda rate, seed: 0.5 + curvature * math.log10(rate / best) ** 2 + generator.gauss(0, noise)


def test_the_choice_is_the_lowest_mean_and_never_a_diverged_one():
    results = [
        Observation(1e-4, 0.5, 0),
        Observation(2e-4, 0.3, 0),
        Observation(2e-4, 0.9, 0),
        Observation(3e-4, None, 0),
    ]
    results += [Observation(4e-4, 0.1, 0), Observation(4e-4, None, 1)]
    evidence = fit_learning_rate(results)
    assert evidence is not None
    assert evidence.best == 1e-4, "0.3 and 0.9 mean 0.6; 4e-4 diverged under another seed"


def test_the_file_holds_the_plain_mean_of_the_cumulative_file_and_beside_it_the_seed_adjusted_one(tmp_path):
    """Seed 1 lowers every loss by 0.05, and only 2e-4 and 3e-4 were run under it."""
    runs = [(1e-4, 0, 1.0), (2e-4, 0, 0.9), (3e-4, 0, 0.95), (2e-4, 1, 0.85), (3e-4, 1, 0.90)]
    trials = [
        Trial(learning_rate=rate, val_loss=loss, seed=seed, stage=0, timestamp="t", sweep="a")
        for rate, seed, loss in runs
    ]
    evidence = fit_learning_rate([trial.observation for trial in trials])
    assert evidence is not None and evidence.best == 2e-4
    content = write_optimal_lr(tmp_path / "optimal_lr.json", evidence, trials, "a")
    entries = fold_entries({str(number): trial for number, trial in enumerate(trials)})
    assert content.val_loss == entries[content.optimal_lr].val_loss == pytest.approx(0.875)
    assert content.evidence.val_loss_seed_adjusted == pytest.approx(0.9)


def test_without_a_single_finite_trial_there_is_no_choice():
    assert fit_learning_rate([Observation(1e-4, None), Observation(2e-4, math.nan)]) is None


def test_the_interval_of_the_fit_covers_the_true_minimum_as_often_as_it_claims():
    generator = random.Random(11)
    covered = fitted = 0
    for _ in range(120):
        evidence = fit_learning_rate(sweep_of(noisy(2e-4, 0.004, generator)), samples=300)
        assert evidence is not None
        if evidence.interval is not None:
            fitted += 1
            covered += evidence.interval[0] <= 2e-4 <= evidence.interval[1]
    assert fitted >= 110
    assert covered / fitted >= 0.85, f"{covered} of {fitted} at a confidence of 95 %"


def test_the_noise_of_repeats_is_found_and_named():
    generator = random.Random(5)
    found = [fit_learning_rate(sweep_of(noisy(2e-4, 0.01, generator)), samples=100) for _ in range(20)]
    assert all(evidence.noise_source == "repeats" for evidence in found)
    assert 0.007 < sum(evidence.noise for evidence in found) / 20 < 0.013


def test_without_repeats_the_noise_is_read_off_the_residuals():
    generator = random.Random(6)
    loss = noisy(2e-4, 0.01, generator)
    evidence = fit_learning_rate(
        [Observation(10**x, loss(10**x, 0), 0) for x in (-4.6, -4.3, -4.0, -3.7, -3.4, -3.1, -2.8)]
    )
    assert evidence is not None and evidence.noise_source == "residuals"
    assert 0.002 < evidence.noise < 0.03


def test_a_flat_landscape_says_that_nearly_all_learning_rates_are_within_noise():
    generator = random.Random(8)
    results = sweep_of(lambda rate, seed: 0.5 + generator.gauss(0, 0.01))
    evidence = fit_learning_rate(results)
    assert evidence is not None
    assert len(evidence.within_noise) >= 0.8 * len({result.learning_rate for result in results})


def test_a_sharp_landscape_says_that_few_are():
    generator = random.Random(8)
    evidence = fit_learning_rate(sweep_of(noisy(2e-4, 0.0005, generator, curvature=1.0)))
    assert evidence is not None and len(evidence.within_noise) <= 4


def test_a_monotone_landscape_has_no_fitted_minimum_and_says_why():
    evidence = fit_learning_rate([Observation(10**x, x, 0) for x in (-5, -4.5, -4, -3.5, -3)])
    assert evidence is not None
    assert evidence.fit_minimum is None and evidence.fit_problem and evidence.at_edge


def test_the_evidence_is_a_function_of_the_results():
    results = sweep_of(noisy(2e-4, 0.004, random.Random(1)))
    assert fit_learning_rate(results) == fit_learning_rate(results)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    results = sweep_of(noisy(5.6e-5, 0.001, random.Random(1)))
    evidence = fit_learning_rate(results)
    trials = [
        Trial(
            learning_rate=r.learning_rate, val_loss=r.val_loss, accuracy=0.4, stage=0, timestamp="t",
            choose_count=100, train_count=1000, epochs=3,
        )
        for r in results
    ]  # fmt: skip
    write_optimal_lr(tmp_path / "optimal_lr.json", evidence, trials, "abc-1")
    return tmp_path / "optimal_lr.json"


def test_the_shell_line_of_the_main_training_reads_the_number(written):
    line = "cat " + str(written) + " | grep optimal_lr | cut -d'\"' -f4"
    number = subprocess.run(line, shell=True, capture_output=True, text=True, check=True).stdout
    assert number.count("\n") == 1
    assert float(number) == read_optimal_lr(written) == weigh_best(written)


def weigh_best(path: Path) -> float:
    return float(json.loads(path.read_text())["optimal_lr"])


def test_exactly_one_line_holds_the_word(written):
    assert sum("optimal_lr" in line for line in written.read_text().splitlines()) == 1


def test_the_unquoted_number_of_the_original_run_is_read(real_data):
    assert read_optimal_lr(real_data / "original_run" / "optimal_lr.json") == 5.6e-05


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"optimal_lr": "fast"}', '{"optimal_lr": -1}', '{"optimal_lr": true}']
)
def test_a_choice_that_is_not_a_positive_number_is_refused_by_name(tmp_path, content):
    path = tmp_path / "optimal_lr.json"
    path.write_text(content)
    with pytest.raises(StorageError, match=r"optimal_lr\.json"):
        read_optimal_lr(path)


def test_a_missing_choice_names_the_fix(tmp_path):
    with pytest.raises(NotYetDone, match=r"run `redheart sweep --output .*` first"):
        read_optimal_lr(tmp_path / "optimal_lr.json")


def test_a_mean_of_more_repeats_pulls_the_parabola_more():
    """Four learning rates on a parabola and one that is off it: by so little as if each repeat were a point of its own."""
    x = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    y = x**2 + np.array([0.0, 0.0, 0.0, 0.0, 0.3])
    runs = np.array([1.0, 1.0, 1.0, 1.0, 9.0])
    expected = np.polyfit(np.repeat(x, runs.astype(int)), np.repeat(y, runs.astype(int)), 2)
    assert _parabola(x, y, runs) == pytest.approx(expected)
    assert _parabola(x, y, np.ones(5)) != pytest.approx(expected, rel=1e-2)
