"""The checks of the engines' contract: each is run on every process of a group, on one loop, in this order.

What is collective in a check comes before what may fail in it, or one process would leave the others waiting.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import torch
from torch import Tensor, nn

from redheart.engine.contract import Engine
from redheart.errors import ConfigError
from redheart.model import UnifiedModel
from redheart.model.losses import compute_losses, valid_counts
from redheart.training.loop import TrainingLoop
from redheart.training.optimizer import build_optimizer
from redheart.training.schedule import SCALE, set_learning_rate
from tests.training.runs import furthest, same_bits


@dataclass
class Stage:
    """What the checks act on.

    Attributes:
        expected: what the engine has to say of itself, by property.
        reference: the same model in one process without an engine, which takes the same steps.
        folder: shared by the processes.
    """

    loop: TrainingLoop
    expected: dict[str, object]
    reference: UnifiedModel
    optimizer: torch.optim.Optimizer
    folder: Path

    @staticmethod
    def of(loop: TrainingLoop, expected: dict[str, object], folder: Path) -> Stage:
        engine = loop.engine
        reference = UnifiedModel(engine.unwrapped.config, loop.statistics)
        reference.load_state_dict(engine.full_state_dict())
        return Stage(loop, expected, reference, build_optimizer(reference, loop.peak, loop.config), folder)

    @property
    def engine(self) -> Engine:
        return self.loop.engine

    def batch(self, number: int) -> object:
        """Positions of 16 situations."""
        return self.loop.train[16 * number : 16 * (number + 1)]

    def gradients_of_reference(self, number: int) -> dict[str, Tensor]:
        """Of the loss of a whole batch, computed at once."""
        data = self.loop.table.batch(self.batch(number))
        self.reference.zero_grad(set_to_none=True)
        compute_losses(self.reference(*data.inputs), data, self.loop.statistics, valid_counts(data)).total.backward()
        return {name: one.grad for name, one in self.reference.named_parameters() if one.grad is not None}

    def step_of_reference(self, number: int) -> tuple[dict[str, Tensor], float]:
        """The weights after a step on a batch, and the norm of its gradients."""
        self.gradients_of_reference(number)
        for group in self.optimizer.param_groups:
            group["lr"] = self.loop.peak * group.get(SCALE, 1.0)
        norm = nn.utils.clip_grad_norm_(self.reference.parameters(), self.loop.config.max_grad_norm)
        self.optimizer.step()
        return dict(self.reference.state_dict()), float(norm)


def it_says_what_it_is(stage: Stage) -> None:
    engine = stage.engine
    assert {name: getattr(engine, name) for name in stage.expected} == stage.expected
    assert engine.precision == "no" and not engine.scales_loss and engine.is_main == (engine.rank == 0)


def states_of_earlier_versions_fit_their_own_kind_and_other_groups_where_they_are_whole(stage: Stage) -> None:
    engine = stage.engine
    assert engine.loads_older_state_of(engine.kind, engine.world_size)
    assert engine.loads_older_state_of(engine.kind, engine.world_size + 1) is not engine.shards_state
    assert not engine.loads_older_state_of("zero1" if engine.kind == "plain" else "plain", engine.world_size)


def what_one_process_knows_all_agree_on(stage: Stage) -> None:
    engine, last = stage.engine, stage.engine.world_size - 1
    engine.barrier()
    flags = [engine.any_rank(flag) for flag in (engine.rank == last, False)]
    finite = [engine.all_finite(torch.tensor([1.0, one])) for one in (math.nan if engine.rank == last else 1.0, 2.0)]
    summed = engine.sum_over_processes(torch.full((2, 3), engine.rank + 1.0))
    gathered = engine.gather(torch.full((2, 1), float(engine.rank)))
    assert flags == [True, False] and finite == [False, True]
    assert torch.equal(summed, torch.full((2, 3), sum(range(1, engine.world_size + 1)) * 1.0))
    assert gathered.flatten().tolist() == [float(rank) for rank in range(engine.world_size) for _ in range(2)]


def the_model_is_whole_and_all_of_it_is_held(stage: Stage) -> None:
    engine = stage.engine
    state, nothing = engine.full_state_dict(), engine.full_state_dict(keep=False)
    whole = {name: engine.full_parameter(name, one).cpu() for name, one in engine.unwrapped.named_parameters()}
    expected = dict(stage.reference.state_dict())
    shapes = {name: list(one.shape) for name, one in stage.reference.named_parameters()}
    assert same_bits(state, expected) and nothing == {}
    assert same_bits(whole, {name: expected[name] for name in whole})
    assert engine.weight_shapes() == shapes and engine.held.keys() == shapes.keys()
    assert set(engine.held.values()) == set(range(len(engine.optimizer.param_groups)))


def gradients_are_whole_and_those_of_one_process(stage: Stage) -> None:
    engine = stage.engine
    stage.loop._accumulate(stage.batch(0))
    found = {name: None if one is None else one.detach().cpu().float().clone() for name, one in engine.gradients()}
    engine.skip_step()
    expected = stage.gradients_of_reference(0)
    assert {name for name, one in found.items() if one is not None and one.any()} == {
        name for name, one in expected.items() if one.any()
    }
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


def a_step_after_dropped_gradients_is_the_step_of_one_process(stage: Stage) -> None:
    engine, before = stage.engine, stage.engine.full_state_dict()
    set_learning_rate(engine.optimizer.param_groups, stage.loop.peak)
    stage.loop._accumulate(stage.batch(0))
    engine.skip_step()
    dropped = engine.full_state_dict()
    stage.loop._accumulate(stage.batch(1))
    updated, norm = engine.step()
    after = engine.full_state_dict()
    expected, expected_norm = stage.step_of_reference(1)
    assert same_bits(before, dropped) and updated
    assert norm is not None and norm == pytest.approx(expected_norm, rel=1e-3)
    assert furthest(after, expected) < 1e-4 and furthest(after, before) > 5e-4


def gradients_that_are_no_number_are_dropped_on_every_process(stage: Stage) -> None:
    engine, before = stage.engine, stage.engine.full_state_dict()
    hooks = [one.register_hook(lambda gradient: gradient * math.inf) for one in engine.unwrapped.parameters()]
    stage.loop._accumulate(stage.batch(0))
    outcome = engine.step()
    for hook in hooks:
        hook.remove()
    after = engine.full_state_dict()
    assert outcome == (False, None) and same_bits(before, after)


def rates_are_scaled_by_group_and_decay_follows_them(stage: Stage) -> None:
    groups = stage.engine.optimizer.param_groups
    set_learning_rate(stage.engine.optimizer.param_groups, 0.5)
    assert [group["lr"] for group in groups] == [0.5 * group.get(SCALE, 1.0) for group in groups]
    assert len({group["lr"] for group in groups}) > 1
    assert stage.engine.decay_of_step() == [1.0 - group["lr"] * group["weight_decay"] for group in groups]


def a_state_that_was_saved_comes_back_to_the_bit(stage: Stage) -> None:
    """Weights, and the optimizer's: the step that follows is the same too."""
    engine = stage.engine
    before = engine.full_state_dict()
    engine.save_state(stage.folder / "state", {})
    ends = []
    for number in (0, 1):
        if number:
            engine.load_state(stage.folder / "state", {})
            back = engine.full_state_dict()
        set_learning_rate(engine.optimizer.param_groups, stage.loop.peak)
        stage.loop._accumulate(stage.batch(2))
        engine.step()
        ends.append(engine.full_state_dict())
    assert same_bits(before, back) and same_bits(*ends) and not same_bits(before, ends[0])


def each_process_holds_its_share_of_the_weights_and_what_is_written_there_is_seen(stage: Stage) -> None:
    engine = stage.engine
    before, shards = engine.full_state_dict(), engine.weight_shards()
    held = engine.gather(torch.tensor([float(sum(len(one.values) for one in shards.values()))])).tolist()
    for one in shards.values():
        one.values.mul_(2.0)
    engine.broadcast_weights()
    with torch.no_grad():
        data = stage.loop.table.batch(stage.batch(0))
        engine.model.eval()
        seen = engine.model(*data.inputs).predictions["regret"]
    after = engine.full_state_dict()
    for one in engine.weight_shards().values():
        one.values.mul_(0.5)
    engine.broadcast_weights()
    names = [name for name, _ in stage.reference.named_parameters()]
    total = sum(before[name].numel() for name in names)
    assert sum(held) == (total if engine.shards_state else total * engine.world_size)
    assert max(held) < 0.55 * total or not engine.shards_state, "its share and no more"
    assert all(torch.equal(after[name], 2.0 * before[name]) for name in names)
    stage.reference.load_state_dict(after)
    expected = stage.reference.eval()(*data.inputs).predictions["regret"].detach()
    torch.testing.assert_close(seen.float(), expected, rtol=1e-3, atol=1e-4)


def what_can_be_no_single_graph_is_refused(stage: Stage) -> None:
    engine = stage.engine
    if engine.is_compilable:
        return
    config = engine.config
    training = msgspec.structs.replace(config.training, compile=True)
    engine.config = msgspec.structs.replace(config, training=training)
    kept = engine.unwrapped
    try:
        with pytest.raises(ConfigError, match=r"ZeRO-3 \(.*\.json\).*training\.compile=false"):
            engine.prepare(stage.reference, stage.optimizer)
    finally:
        engine.config, engine.unwrapped = config, kept


def without_a_folder_trackers_are_told_and_nothing_is_written(stage: Stage) -> None:
    stage.engine.start_tracking("checks")
    stage.engine.track({"a": 1.0}, step=1)
    stage.engine.finish_tracking()
    stage.engine.finish_tracking()
    with stage.engine.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    assert not list(stage.folder.rglob("events.out.tfevents.*"))


CHECKS: dict[str, Callable[[Stage], None]] = {
    one.__name__: one
    for one in (
        it_says_what_it_is,
        states_of_earlier_versions_fit_their_own_kind_and_other_groups_where_they_are_whole,
        what_one_process_knows_all_agree_on,
        the_model_is_whole_and_all_of_it_is_held,
        gradients_are_whole_and_those_of_one_process,
        a_step_after_dropped_gradients_is_the_step_of_one_process,
        gradients_that_are_no_number_are_dropped_on_every_process,
        rates_are_scaled_by_group_and_decay_follows_them,
        a_state_that_was_saved_comes_back_to_the_bit,
        each_process_holds_its_share_of_the_weights_and_what_is_written_there_is_seen,
        what_can_be_no_single_graph_is_refused,
        without_a_folder_trackers_are_told_and_nothing_is_written,
    )
}


def outcomes(stage: Stage) -> Iterator[tuple[str, str]]:
    """By check: what went wrong on this process; empty where nothing did."""
    for name, check in CHECKS.items():
        try:
            check(stage)
        except Exception:
            yield name, traceback.format_exc()
        else:
            yield name, ""
