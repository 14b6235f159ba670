"""The formulas, against what was measured and against one another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from redheart.machine import GIB
from redheart.plan.memory import Job, estimate
from redheart.plan.model_size import ModelSize
from redheart.plan.strategies import STRATEGIES, Strategy

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
SIZE = ModelSize.of("small", d_embed=384, segments=16, precision="bf16")


def job(processes: int = 2, *, micro_batch: int = 8, passes: int = 1, on_gpu: bool = True) -> Job:
    return Job(SIZE, "bf16", processes, processes, micro_batch, passes, on_gpu)


def test_the_stored_measurements_are_near_the_plan() -> None:
    """As ``benchmarks/memory_plan.py`` stored them; the plan's numbers in it are of then."""
    rows = json.loads((RESULTS / "memory_plan.json").read_text())
    large = {name: row["phases"] for name, row in rows.items() if not name.startswith("tiny")}
    assert len(large) >= 6
    for name, phases in large.items():
        for phase, pair in phases.items():
            assert pair["measured"] == pytest.approx(pair["planned"], rel=0.15), (name, phase)


def test_without_a_gpu_nothing_lies_on_one() -> None:
    found = estimate(Strategy("zero3"), job(on_gpu=False))
    assert found.device.total == 0
    assert found.host.weights > 0


@pytest.mark.parametrize("strategy", [one for one in STRATEGIES if one.offloads_optimizer])
def test_what_is_offloaded_lies_in_host_memory(strategy: Strategy) -> None:
    found, without = estimate(strategy, job()), estimate(Strategy(strategy.kind, recomputes=strategy.recomputes), job())
    assert found.device.optimizer == 0 < found.host.optimizer
    assert found.device.total < without.device.total
    assert found.host.total > without.host.total


def test_more_stages_of_zero_take_less_of_a_device_and_a_second_pass_needs_gradients_beside_activations() -> None:
    kinds = ("ddp", "zero1", "zero2")
    totals = [estimate(Strategy(kind), job(8)).device.total for kind in kinds]  # type: ignore[arg-type]
    assert totals == sorted(totals, reverse=True)
    one, two = (estimate(Strategy("plain"), job(1, passes=passes)).device.total for passes in (1, 2))
    assert two - one == min(4 * SIZE.parameters, SIZE.activations.peak(8)) + 2 * SIZE.parameters  # and those of casts


def test_a_checkpoint_needs_the_weights_once_more_at_most() -> None:
    assert estimate(Strategy("plain"), job(1)).save == 4 * SIZE.parameters < GIB
