"""What is left once a strategy ran out of memory: what needs less of that memory, in the plan's order, and nothing twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from redheart.errors import Memory
from redheart.plan.choice import Plan, Request, make_plan
from redheart.plan.fallback import Shortage, next_row
from redheart.plan.strategies import Strategy
from tests.plan.test_choice import plan


def going_on(found: Plan, memory: Memory, *, has_begun: bool = True) -> list[tuple[str, int]]:
    """What comes one after the other, with its first micro-batch, if each in turn runs out of the same memory."""
    names, failed = list[tuple[str, int]](), list[Shortage]()
    row = found.taken
    while row is not None and len(names) < 20:
        names.append((row.strategy.full_name, row.job.micro_batch))
        failed.append(Shortage(row.strategy, row.job.processes, memory, has_begun))
        row = next_row(found, failed)  # type: ignore[assignment]
    return names


def test_on_one_card_what_offloads_follows_what_does_not_and_each_needs_less_of_the_card() -> None:
    assert going_on(plan(1, 24, 64), "device") == [
        ("plain", 64),
        ("plain with activation checkpointing", 64),
        ("ZeRO-2, optimizer offload", 64),
        ("ZeRO-2, optimizer offload with activation checkpointing", 4),
        ("ZeRO-3, optimizer offload", 64),
        ("ZeRO-3, optimizer offload with activation checkpointing", 4),
        ("ZeRO-3, offload", 32),
    ]


@pytest.mark.parametrize("memory", ["device", "host"])
@pytest.mark.parametrize("has_begun", [True, False])
@pytest.mark.parametrize("machine", [(1, 24, 64), (4, 24, 256), (4, 5, 64), (1, 80, 128)])
def test_each_strategy_comes_once_and_the_first_is_the_plans_own(
    machine: tuple[int, int, int], memory: Memory, has_begun: bool
) -> None:
    names = [name for name, _ in going_on(plan(*machine), memory, has_begun=has_begun)]
    assert len(set(names)) == len(names)
    assert names[0] == plan(*machine).taken.strategy.full_name


def test_where_host_memory_runs_out_nothing_takes_more_of_it() -> None:
    names = [name for name, _ in going_on(plan(1, 8, 32), "host")]
    assert names == ["ZeRO-2, optimizer offload"], "offload is what takes host memory"


def test_what_ran_out_of_the_card_does_not_come_again_when_the_next_runs_out_of_host_memory() -> None:
    found = plan(1, 24, 64)
    failed = [Shortage(Strategy("plain", recomputes=one), 1, "device", True) for one in (False, True)]
    assert next_row(found, failed) is not None
    assert next_row(found, [*failed, Shortage(Strategy("zero2", offloads_optimizer=True), 1, "host", True)]) is None


def test_without_a_card_two_processes_give_way_to_one_and_that_computes_activations_again() -> None:
    found = make_plan(replace(Request("small", "no", 32, 16), situations=0), replace(plan(1, 8, 32).hardware, gpus=0))
    for has_begun in (True, False):
        sharded = Shortage(Strategy("zero2"), 2, "host", has_begun)
        row = next_row(found, [sharded])
        assert row is not None and row.strategy == Strategy("plain") and row.job.processes == 1
    again = next_row(found, [sharded, Shortage(Strategy("plain"), 1, "host", True)])
    assert again is not None and again.strategy == Strategy("plain", recomputes=True)
    assert next_row(found, [Shortage(Strategy("plain"), 1, "host", False)]) is None, "the model is as large"


def test_what_the_plan_says_does_not_fit_is_not_tried() -> None:
    found = plan(1, 12, 12)
    assert [row.strategy for row in found.rows if row.fits] == [Strategy("plain", recomputes=True)]
    assert next_row(found, [Shortage(Strategy("plain", recomputes=True), 1, "device", True)]) is None
