"""The liveness probe finds each way not to train, by name, and nothing else; and says what data alone is to blame for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from redheart.batches.table import SituationTable
from redheart.config import Config
from redheart.engine.factory import make_engine
from redheart.health.dead_tensors import MIN_GRADIENT, LivenessReport
from redheart.health.liveness import LivenessProbe
from redheart.health.weight_changes import all_of, sample_of
from redheart.model import UnifiedModel, dimensions
from redheart.training.loop import TrainingLoop
from redheart.training.optimizer import build_optimizer
from tests.training.planted import PLANTS, Plant, detach, leave_out
from tests.training.runs import LEARNING_RATE

NOTHING = Plant(lambda model: None)


def planted_loop(
    config: Config, table: SituationTable, plant: Plant, learning_rate: float = LEARNING_RATE
) -> TrainingLoop:
    """A loop as the stage builds it, on a model with something planted in it."""
    torch.manual_seed(config.seed)
    train = table.split_indices["train"]
    statistics = table.statistics(train)
    engine = make_engine(config)
    model = UnifiedModel(dimensions("tiny", d_embed=table.d_embed, dropout=config.model.dropout), statistics)
    plant.plant(model)
    optimizer = build_optimizer(model, learning_rate, config.training)
    leave_out(optimizer, model, plant)
    engine.prepare(model, optimizer)
    epochs, seed = config.training.epochs, config.seed
    return TrainingLoop(engine, table, train, statistics, learning_rate=learning_rate, total_epochs=epochs, seed=seed)


def watch(loop: TrainingLoop, steps: int = 4, take: Callable[[torch.Tensor], torch.Tensor] = all_of) -> LivenessReport:
    probe = LivenessProbe(loop.engine, loop.table, steps=steps, take=take)
    loop.watchers.append(probe)
    for step in loop.epoch(1):
        if step.verdict.is_watched:
            probe.add(step.batch, updated=step.updated)
        if probe.is_due:
            break
    return probe.report()


@pytest.fixture
def strong_decay(settings) -> Config:
    return settings(weight_decay=0.5, global_batch_size=8)


@pytest.mark.parametrize("take", [all_of, sample_of], ids=["whole", "sampled"])
def test_a_healthy_model_is_alive_to_the_last_row(table, strong_decay, take):
    report = watch(planted_loop(strong_decay, table, NOTHING), take=take)
    assert report.is_alive and report.steps == report.updates == 4
    assert all(tensor.is_alive and not tensor.dead_rows and not tensor.unseen_rows for tensor in report.tensors)
    assert not report.lacking
    modules = report.modules()
    assert len(modules) == 17 and all(one.alive == one.tensors > 0 for one in modules)
    assert min(one.smallest_gradient for one in modules) > 1e2 * MIN_GRADIENT
    assert min(one.smallest_update for one in modules) > 1e-4


@pytest.mark.parametrize("take", [all_of, sample_of], ids=["whole", "sampled"])
@pytest.mark.parametrize("what", PLANTS)
def test_what_does_not_train_is_found_by_name_and_nothing_else_is(table, strong_decay, what, take):
    plant = PLANTS[what]
    report = watch(planted_loop(strong_decay, table, plant), take=take)
    assert {tensor.name: tensor.faults for tensor in report.dead} == plant.dead
    assert {tensor.name: list(tensor.dead_rows) for tensor in report.with_dead_rows} == {
        name: list(rows) for name, rows in plant.rows.items()
    }
    assert not report.is_alive


def test_a_dry_run_judges_gradients_and_claims_no_update(table, settings):
    config = settings(global_batch_size=8, no_param_update=True)
    report = watch(planted_loop(config, table, PLANTS["a detached branch"]))
    assert report.steps == 4 and report.updates == 0
    assert {tensor.name: tensor.faults for tensor in report.dead} == {
        "dsp_simulator.summarise.weight": ("no_gradient",),
        "dsp_simulator.summarise.bias": ("no_gradient",),
    }
    assert all(tensor.relative_update is None for tensor in report.tensors)


def test_where_most_of_a_group_is_dead_the_dead_do_not_set_the_measure(table, strong_decay):
    """A median of zero would let every gradient of zero pass."""
    plant = Plant(lambda model: [detach(wrapper.correct) for wrapper in model.advanced_wrappers.values()])
    report = watch(planted_loop(strong_decay, table, plant))
    wrappers = {tensor.name for tensor in report.tensors if tensor.group == "advanced_wrappers"}
    gates = {name for name in wrappers if name.endswith(".gate")}
    assert {tensor.name for tensor in report.dead} == wrappers - gates and len(gates) == 4


def test_a_probe_changes_no_bit_of_the_training(table, settings):
    numbers = []
    for watched in (True, False):
        loop = planted_loop(settings(dropout=0.1), table, NOTHING)
        loop.watchers = [LivenessProbe(loop.engine, table, steps=2)] if watched else []
        steps = [(step.loss, step.gradient_norm, step.module_norms) for step in loop.epoch(1)]
        numbers.append((steps, loop.engine.full_state_dict()))
    (watched_steps, watched_state), (steps, state) = numbers
    assert watched_steps == steps
    assert all(torch.equal(watched_state[name], tensor) for name, tensor in state.items())
