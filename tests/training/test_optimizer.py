"""Which weights decay, and how fast each layer learns: by its declared distance from the output, at every step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from redheart.health.update_monitor import UpdateMonitor
from redheart.health.weight_changes import ChangesState
from redheart.model import TargetStatistics, UnifiedModel, dimensions
from redheart.tasks import TASKS
from redheart.training.optimizer import build_optimizer, learning_rate_scales, slower_tasks
from redheart.training.schedule import learning_rate_at, set_learning_rate
from tests.training.runs import make_loop, same_bits, state_of

DECAY = 0.8


def tiny() -> UnifiedModel:
    torch.manual_seed(0)
    return UnifiedModel(dimensions("tiny", d_embed=16), TargetStatistics.neutral())


def by_name(model, optimizer, key):
    """A setting of each parameter's group."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[one]: group[key] for group in optimizer.param_groups for one in group["params"]}


def test_matrices_decay_and_vectors_do_not_at_every_depth(settings):
    model = tiny()
    for decay in (1.0, DECAY):
        optimizer = build_optimizer(model, 1e-3, settings(weight_decay=0.1, layer_lr_decay=decay).training)
        assert by_name(model, optimizer, "weight_decay") == {
            name: 0.1 if parameter.dim() >= 2 else 0.0 for name, parameter in model.named_parameters()
        }


def test_every_tensor_learns_at_decay_to_the_power_of_its_distance(settings):
    model = tiny()
    config = settings(layer_lr_decay=DECAY, linear_start=False).training
    rates = by_name(model, build_optimizer(model, 1e-3, config), "lr")
    distances = model.distances()
    assert rates == pytest.approx({name: 1e-3 * DECAY**distance for name, distance in distances.items()})
    assert len(set(rates.values())) == max(distances.values()) + 1 > 5
    for name, rate in rates.items():
        if name.startswith("heads."):
            assert rate > max(one for other, one in rates.items() if other.startswith("backbone.blocks."))


def test_without_decay_there_are_two_groups_at_one_rate(settings):
    model = tiny()
    config = settings(linear_start=False).training
    optimizer = build_optimizer(model, 1e-3, config)
    assert [set(group) & {"learning_rate_scale"} for group in optimizer.param_groups] == [set(), set()]
    assert {group["lr"] for group in optimizer.param_groups} == {1e-3}
    assert set(learning_rate_scales(model, config).values()) == {1.0}


def covered(**shares: float) -> UnifiedModel:
    """A model of a training split with targets for so many of 200 situations."""
    masks = {
        task.name: np.tile(np.arange(200)[:, None] < 200 * shares.get(task.name, 1.0), (1, len(task.dimensions)))
        for task in TASKS
    }
    values = {name: np.full(mask.shape, 1 / mask.shape[1], np.float32) for name, mask in masks.items()}
    torch.manual_seed(0)
    return UnifiedModel(dimensions("tiny", d_embed=16), TargetStatistics.fit(values, masks))


@pytest.mark.parametrize("decay", [1.0, DECAY])
def test_linear_paths_that_start_at_their_best_learn_at_a_tenth_of_their_rate(settings, decay):
    model = covered()
    config = settings(layer_lr_decay=decay).training
    rates = by_name(model, build_optimizer(model, 1e-3, config), "lr")
    distances = model.distances()
    slow = {name for name in rates if ".linear." in name or ".radial." in name or "radial_basis" in name}
    assert len(slow) == 16
    for name, rate in rates.items():
        assert rate == pytest.approx(1e-3 * decay ** distances[name] * (0.1 if name in slow else 1.0)), name


def test_a_path_without_a_start_learns_as_all_else(settings):
    """Ten annotated stories are too few to solve anything for: at a tenth of the rate it would stay where it is."""
    model = covered(emotion=0.05)
    rates = by_name(model, build_optimizer(model, 1e-3, settings(rate_by_coverage=False).training), "lr")
    assert rates["heads.emotion.linear.weight"] == rates["heads.emotion.radial.weight"] == 1e-3
    assert rates["heads.regret.linear.weight"] == pytest.approx(1e-4)


def test_modules_of_a_task_with_few_targets_learn_more_slowly_by_as_much(settings):
    model = covered(emotion=0.1, regret=0.25, surd=0.95, bentham=0.0)
    config = settings(linear_start=False).training
    assert config.rate_by_coverage
    rates = by_name(model, build_optimizer(model, 1e-3, config), "lr")
    for name, rate in rates.items():
        of_emotion = ".emotion." in name or name.startswith(("dsp_simulator", "kalman_filter"))
        share = 0.1 if of_emotion else 0.25 if ".regret." in name else 1.0
        assert rate == pytest.approx(1e-3 * share), name
    assert len(set(rates.values())) == 3
    whole = learning_rate_scales(model, settings(linear_start=False, rate_by_coverage=False).training)
    assert set(whole.values()) == {1.0}
    assert slower_tasks(model.statistics) == pytest.approx({"emotion": 0.1, "regret": 0.25})


def test_modules_of_a_task_with_hardly_any_targets_still_move(settings):
    """At half a hundredth of 1e-5 a norm's weights would stay 1 for ever, and the update check would call them dead."""
    model = covered(emotion=0.005)
    optimizer = build_optimizer(model, 1e-5, settings().training)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, -1.0)
    optimizer.step()
    assert not [name for name, p in model.named_parameters() if torch.equal(p, before[name])]


def test_rates_go_by_the_task_that_has_most_targets(settings):
    """A dataset of which half has all targets and half has none trains as the half with all does."""
    few = dict.fromkeys(("emotion", "regret", "surd", "bentham", "verdict"), 0.5)
    assert set(learning_rate_scales(covered(**few), settings(linear_start=False).training).values()) == {1.0}


def test_a_planted_module_without_a_declared_depth_is_an_error(settings):
    model = tiny()
    model.phases.extra = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"phases\.extra\.weight"):
        build_optimizer(model, 1e-3, settings(layer_lr_decay=DECAY).training)


def test_the_schedule_moves_all_groups_and_keeps_their_ratios(table, settings):
    loop = make_loop(settings(layer_lr_decay=DECAY, linear_start=False, global_batch_size=8), table)
    distances = loop.engine.unwrapped.distances()
    seen = set()
    for step in loop.epoch(1):
        rates = by_name(loop.engine.unwrapped, loop.engine.optimizer, "lr")
        assert rates == pytest.approx({name: step.learning_rate * DECAY**d for name, d in distances.items()})
        seen.add(step.learning_rate)
    assert len(seen) > 3


def test_the_first_step_of_adam_moves_each_tensor_by_its_own_rate(table, settings):
    """In its first step Adam moves a weight by the rate, whatever its gradient: so the rates that act can be read off."""
    loop = make_loop(settings(layer_lr_decay=DECAY, linear_start=False, weight_decay=0.0, warmup_fraction=0.0), table)
    before = state_of(loop)
    step = next(loop.epoch(1))
    after = state_of(loop)
    for name, distance in loop.engine.unwrapped.distances().items():
        moved = float((after[name] - before[name]).abs().max())
        assert moved == pytest.approx(step.learning_rate * DECAY**distance, rel=0.05), name


def test_the_monitor_takes_each_groups_own_decay_out(table, settings):
    """Tensors without gradients under a strong decay, at every depth: all are seen to be still, and no other is."""
    loop = make_loop(settings(layer_lr_decay=DECAY, weight_decay=0.5, global_batch_size=8), table, 3e-3)
    dead = {
        name
        for name, parameter in loop.engine.unwrapped.named_parameters()
        if parameter.dim() >= 2 and name.endswith(("enter.weight", "read_out.weight", "out.weight", "predict.weight"))
    }
    assert len({loop.engine.unwrapped.distances()[name] for name in dead}) > 5
    for name, parameter in loop.engine.unwrapped.named_parameters():
        if name in dead:
            parameter.register_hook(torch.zeros_like)
    monitor = UpdateMonitor(loop.engine)
    before = state_of(loop)
    for number, _ in enumerate(loop.epoch(1)):
        monitor.stepped()
        if number == 2:  # as a run that is stopped and resumed: through what JSON leaves of the counters
            samples, counters = monitor.to_state()
            monitor = UpdateMonitor(loop.engine)
            monitor.restore(samples, counters)
    after = state_of(loop)
    assert not any(torch.equal(before[name], after[name]) for name in dead), "decay alone has moved them"
    assert set(monitor.check().unchanged_tensors) == dead


def test_a_monitor_takes_the_counters_of_before_layers_had_rates_of_their_own(table, settings):
    loop = make_loop(settings(weight_decay=0.5, linear_start=False), table)
    monitor = UpdateMonitor(loop.engine)
    samples, _ = monitor.to_state()
    monitor.restore(samples, ChangesState(steps=3, decay=0.75))
    set_learning_rate(loop.engine.optimizer.param_groups, 0.1)
    monitor.stepped()
    assert monitor.to_state()[1] == ChangesState(4, [0.75 * 0.95, 1.0]), "matrices, then vectors"


def test_an_unset_decay_trains_to_the_same_bits_as_one(table, settings):
    states = []
    for chosen in ({}, {"layer_lr_decay": 1.0}):
        loop = make_loop(settings(**chosen), table)
        list(loop.epoch(1))
        states.append(state_of(loop))
    assert same_bits(*states)


class TestSchedule:
    @pytest.mark.parametrize("schedule", ["cosine", "wsd"])
    def test_it_rises_to_the_peak_and_never_leaves_its_bounds(self, settings, schedule):
        config = settings(schedule=schedule, warmup_fraction=0.1, final_lr_fraction=0.05).training
        rates = [learning_rate_at(step, 100, 2.0, config) for step in range(100)]
        assert rates[:10] == pytest.approx([2.0 * (step + 1) / 10 for step in range(10)])
        assert max(rates) == 2.0 and rates[10:] == sorted(rates[10:], reverse=True)
        assert 0.1 <= rates[-1] < 0.2

    def test_wsd_stays_at_the_peak_and_then_goes_down_as_one_minus_the_root(self, settings):
        config = settings(schedule="wsd", warmup_fraction=0.1, decay_fraction=0.25, final_lr_fraction=0.0).training
        rates = [learning_rate_at(step, 200, 3.0, config) for step in range(200)]
        assert rates[20:151] == [3.0] * 131
        for step in range(150, 200):
            assert rates[step] == pytest.approx(3.0 * (1 - ((step - 150) / 50) ** 0.5))

    def test_wsd_ends_at_its_fraction_of_the_peak(self, settings):
        config = settings(schedule="wsd", final_lr_fraction=0.2, decay_fraction=0.5).training
        assert learning_rate_at(1000, 1000, 1.0, config) == pytest.approx(0.2)
        assert learning_rate_at(750, 1000, 1.0, config) == pytest.approx(0.2 + 0.8 * (1 - 0.5**0.5))

    @pytest.mark.parametrize("total", [1, 2, 3, 7])
    def test_the_shortest_runs_have_rates_too(self, settings, total):
        for schedule in ("cosine", "wsd"):
            config = settings(schedule=schedule, decay_fraction=0.9).training
            rates = [learning_rate_at(step, total, 1.0, config) for step in range(total)]
            assert rates[0] == 1.0 and all(0.0 < rate <= 1.0 for rate in rates)

    def test_the_cut_into_micro_batches_does_not_change_the_rates(self, table, settings):
        rates = []
        for micro in (16, 4):
            loop = make_loop(settings(schedule="wsd", micro_batch_size=micro, epochs=2), table)
            rates.append([step.learning_rate for epoch in (1, 2) for step in loop.epoch(epoch)])
        assert rates[0] == rates[1] and len(rates[0]) == loop.total_steps
