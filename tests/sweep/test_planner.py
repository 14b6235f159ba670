"""The planner: where trials lie, what counts as tested, and that it is a function of its arguments."""

from __future__ import annotations

import copy
import json
import math
import random
from pathlib import Path

import msgspec
import pytest

from redheart.config import SweepConfig
from redheart.sweep.learning_rate_keys import key_of, nearest_tested, round_to_spacing
from redheart.sweep.planner import StagePlan, _nearest_free, plan_stage
from redheart.sweep.seed_effects import Observation, mean_losses

SETTINGS = SweepConfig()
LIMIT = math.log(1.1) - 1e-9


def run_all(loss, history=(), settings=SETTINGS, seed=0):
    """All stages against a loss function of learning rate and seed (None: diverged)."""
    results: list[Observation] = []
    plans: list[StagePlan] = []
    for stage in range(settings.stages):
        plan = plan_stage(stage, settings, seed, [*history, *results], results)
        plans.append(plan)
        results += [Observation(t.learning_rate, loss(t.learning_rate, t.seed), t.seed) for t in plan.trials]
    return plans, results


def valley(best=2e-4, noise=0.0):
    def loss(rate, seed):
        return math.log10(rate / best) ** 2 + noise * random.Random(f"{rate!r}{seed}").gauss(0, 1)

    return loss


def random_history(generator, count):
    return [
        Observation(10 ** generator.uniform(-5.2, -1.8), generator.choice([None, generator.random()]))
        for _ in range(count)
    ]


def scenarios():
    generator = random.Random(7)
    for number in range(40):
        history = random_history(generator, generator.choice([0, 0, 5, 25, 80, 200]))
        best = 10 ** generator.uniform(-6.0, -1.0)
        limit = generator.choice([math.inf, 10 ** generator.uniform(-5, -2)])
        base = valley(best, generator.choice([0.0, 0.05]))
        yield number, history, lambda rate, seed, base=base, limit=limit: None if rate > limit else base(rate, seed)


SCENARIOS = list(scenarios())


def test_the_first_stage_spreads_over_the_range_under_the_keys_of_the_earlier_implementation():
    plan = plan_stage(0, SETTINGS, 0, [], [])
    assert [key_of(t.learning_rate) for t in plan.trials] == ["1e-05", "5.6e-05", "0.00032", "0.0018", "0.01"]
    assert {t.seed for t in plan.trials} == {0}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: f"scenario{s[0]}")
def test_there_are_25_trials_distinct_at_the_resolution_unless_they_are_repeats(scenario):
    _, history, loss = scenario
    plans, results = run_all(loss, history)
    assert len(results) == 25
    known = [past.learning_rate for past in history]
    for plan in plans:
        for trial in plan.trials:
            if trial.placement != "repeat":
                near = [rate for rate in known if abs(math.log(trial.learning_rate / rate)) < LIMIT]
                assert not near, (trial, near)
                known.append(trial.learning_rate)
                assert plan.low * (1 - 1e-8) <= trial.learning_rate <= plan.high * (1 + 1e-8)
        known += [trial.learning_rate for trial in plan.trials]
    assert all(SETTINGS.lr_min / 10 <= p.low <= p.high <= SETTINGS.lr_max * 10 * 1.0001 for p in plans)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: f"scenario{s[0]}")
def test_a_repeat_has_a_seed_that_its_learning_rate_never_had(scenario):
    _, history, loss = scenario
    plans, _ = run_all(loss, history)
    used = {(past.learning_rate, past.seed) for past in history}
    for plan in plans:
        for trial in plan.trials:
            assert (trial.learning_rate, trial.seed) not in used
            assert (trial.seed != 0) == (trial.placement == "repeat")
            used.add((trial.learning_rate, trial.seed))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: f"scenario{s[0]}")
def test_a_later_bracket_lies_between_the_neighbours_of_the_best(scenario):
    _, history, loss = scenario
    plans, results = run_all(loss, history)
    for plan in plans[1:]:
        before = results[: plan.stage * 5]
        means = mean_losses(before)
        assert set(means) == {r.learning_rate for r in before} - {r.learning_rate for r in before if r.val_loss is None}
        tested = sorted({result.learning_rate for result in before})
        if not means:
            assert plan.high == tested[0]
            continue
        best = min(means, key=lambda rate: (means[rate], rate))
        below = [rate for rate in tested if rate < best]
        above = [rate for rate in tested if rate > best]
        assert plan.low <= best <= plan.high
        assert plan.low == below[-1] if below else True
        assert plan.high == above[0] if above else True


def test_the_plan_is_a_function_of_its_arguments_and_of_no_order_in_the_history():
    generator = random.Random(3)
    history = random_history(generator, 30)
    results = [
        Observation(t.learning_rate, 0.5 + t.point * 0.1, t.seed) for t in plan_stage(0, SETTINGS, 0, [], []).trials
    ]
    shuffled = history[::-1]
    kept = copy.deepcopy((history, results))
    first = plan_stage(1, SETTINGS, 0, [*history, *results], results)
    assert plan_stage(1, SETTINGS, 0, [*results, *shuffled], results[::-1]) == first
    assert (history, results) == kept
    assert msgspec.convert(json.loads(json.dumps(msgspec.to_builtins(first))), StagePlan) == first


def test_exactly_ten_per_cent_away_is_free_and_a_hair_less_is_tested():
    assert nearest_tested(1.1e-5, [1e-5], 0.1) is None
    assert nearest_tested(1e-5 * (1.1 - 1e-6), [1e-5], 0.1) == 1e-5
    assert nearest_tested(1e-5 / 1.1, [1e-5], 0.1) is None


def test_a_tested_point_moves_one_step_up_first_then_down():
    up = plan_stage(0, SETTINGS, 0, [Observation(5.6e-5, 1.0)], []).trials[1]
    assert (up.wanted, up.learning_rate, up.placement) == (5.6e-5, 6.16e-5, "moved_tested")
    down = plan_stage(0, SETTINGS, 0, [Observation(5.6e-5, 1.0), Observation(6.2e-5, 1.0)], []).trials[1]
    assert down.learning_rate == 5.09e-5


def test_a_point_at_the_upper_end_moves_down_because_the_bracket_ends_there():
    last = plan_stage(0, SETTINGS, 0, [Observation(0.01, 1.0)], []).trials[-1]
    assert last.learning_rate == 0.00909


def test_a_bracket_without_a_free_place_is_spent_on_repeats_of_the_best():
    plans, results = run_all(valley(2e-4, noise=0.001))
    repeats = [trial for plan in plans[3:] for trial in plan.trials if trial.placement == "repeat"]
    assert len(repeats) >= 8
    losses: dict[float, float] = {}
    for result in results:
        losses.setdefault(result.learning_rate, result.val_loss)
    best = sorted(losses, key=losses.get)[:8]
    assert all(trial.learning_rate in best for trial in repeats)


def test_a_history_that_fills_the_whole_range_leaves_only_repeats_of_its_best():
    history = [Observation(1e-5 * 1.05**step, abs(step - 40) / 100) for step in range(143)]
    plan = plan_stage(0, SETTINGS, 0, history, [])
    assert {trial.placement for trial in plan.trials} == {"repeat"}
    best = sorted(history, key=lambda past: past.val_loss)[:5]
    assert {trial.learning_rate for trial in plan.trials} == {past.learning_rate for past in best}


@pytest.mark.parametrize("bad", [None, math.nan, math.inf])
def test_a_diverged_or_nan_trial_is_never_zoomed_on(bad):
    results = [Observation(t.learning_rate, 0.5 + t.point * 0.1, 0) for t in plan_stage(0, SETTINGS, 0, [], []).trials]
    results[3] = Observation(results[3].learning_rate, bad, 0)
    plan = plan_stage(1, SETTINGS, 0, results, results)
    assert plan.high == 5.6e-5  # the best is the lowest: one gap of the grid below, up to its right neighbour
    assert plan.low == pytest.approx(1e-5 / 1000**0.25)


def test_a_learning_rate_that_diverged_under_one_seed_is_not_the_best_by_its_other_runs():
    results = [Observation(t.learning_rate, 0.5 + t.point * 0.1, 0) for t in plan_stage(0, SETTINGS, 0, [], []).trials]
    for bad in (None, math.nan):
        plan = plan_stage(1, SETTINGS, 0, results, [Observation(1e-5, bad, 1), *results])
        assert (plan.low, plan.high) == (1e-5, 0.00032)


def test_a_best_at_the_edge_extends_the_bracket_but_at_most_tenfold():
    plans, _ = run_all(valley(1e-9))
    assert plans[1].low < 1e-5
    assert min(plan.low for plan in plans) == pytest.approx(1e-6)
    upper, _ = run_all(valley(10.0))
    assert max(plan.high for plan in upper) == pytest.approx(0.1)


def test_where_everything_diverged_the_next_stage_looks_below():
    plans, _ = run_all(lambda rate, seed: None)
    assert plans[1].high == 1e-5 and all(trial.learning_rate < 1e-5 for trial in plans[1].trials)


def test_rounding_keeps_points_apart_and_moves_none_by_more_than_a_twentieth_of_the_spacing():
    for spacing in (1.7, 0.5, 0.11, 0.02, 0.001):
        for step in range(200):
            rate = 1e-5 * math.exp(step * 0.0317)
            assert abs(math.log(round_to_spacing(rate, spacing) / rate)) <= spacing / 20 * 1.06


def test_the_original_runs_record_counts_as_history(real_data: Path):
    record = json.loads((real_data / "original_run" / "lr_sweep_cumulative.json").read_text())
    history = [Observation(float(key), entry["val_loss"]) for key, entry in record.items()]
    trials = plan_stage(0, SETTINGS, 0, history, []).trials
    assert [trial.placement for trial in trials] == ["moved_tested"] * 5
    assert trials[1].wanted == 5.6e-5
    # Up one step lies 6.39e-05, down one 5.10e-05, up two 6.39e-05 and 7.15e-05: the first free place is two down.
    assert trials[1].learning_rate == 4.63e-5


def test_a_moved_learning_rate_has_three_digits_or_as_many_as_keep_it_ten_per_cent_from_all_others():
    past = [Observation(rate, 1.0) for rate in (5.6e-5, 6.2e-5)]
    assert plan_stage(0, SETTINGS, 0, past, []).trials[1].learning_rate == 5.09e-5
    # 5.09e-05 is less than 10 % above 4.628e-05, and 5.0909e-05 is not.
    between = plan_stage(0, SETTINGS, 0, [*past, Observation(4.628e-5, 1.0)], []).trials[1]
    assert between.learning_rate == 5.0909e-5
    assert nearest_tested(between.learning_rate, [5.6e-5, 6.2e-5, 4.628e-5], 0.1) is None


def test_a_moved_learning_rate_is_not_rounded_out_of_its_bracket():
    assert _nearest_free(1.0046e-4, 1e-5, 1.0046e-4 * 1.1, [1.0046e-4], 0.1) == 1.10506e-4


def test_keys_of_moved_learning_rates_are_short():
    """Few of them need more than four digits, whatever was tested before."""
    moved = [
        trial
        for _, history, loss in SCENARIOS
        for plan in run_all(loss, history)[0]
        for trial in plan.trials
        if trial.placement.startswith("moved")
    ]
    digits = [len(f"{trial.learning_rate!r}".split("e")[0].replace(".", "").strip("0")) for trial in moved]
    assert len(moved) > 50
    assert sum(count <= 4 for count in digits) >= 0.9 * len(digits)
