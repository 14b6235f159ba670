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
    one, two, three = (estimate(Strategy("plain"), job(1, passes=passes)).device.total for passes in (1, 2, 3))
    assert two - one == min(4 * SIZE.parameters, SIZE.activations.peak(8))
    assert three - two == 2 * SIZE.parameters - (SIZE.activations.peak(8) - SIZE.activations.once)  # of casts


def test_a_checkpoint_needs_the_weights_once_more_at_most() -> None:
    assert estimate(Strategy("plain"), job(1)).save == 4 * SIZE.parameters < GIB


@pytest.mark.parametrize(
    ("strategy", "micro_batch", "passes", "device", "host", "prepared"),
    [
        (Strategy("plain"), 64, 1, 11.52, 1.06, 0.11),
        (Strategy("zero2"), 32, 2, 13.20, 1.51, 0.53),
        (Strategy("zero2", offloads_optimizer=True), 32, 2, 5.01, 17.02, 10.58),
        (Strategy("zero3", offloads_optimizer=True, offloads_parameters=True), 32, 2, 1.36, 21.48, 14.53),
    ],
)
def test_on_a_gpu_730m_needs_what_was_measured_on_one(
    strategy: Strategy, micro_batch: int, passes: int, device: float, host: float, prepared: float
) -> None:
    """GiB, on an H100: ``fit`` in ``benchmarks/results/gpu_all.json``."""
    size = ModelSize.of("730m", d_embed=384, segments=16, precision="bf16")
    found = estimate(strategy, Job(size, "bf16", 1, 1, micro_batch, passes, on_gpu=True))
    assert found.device_needed / GIB == pytest.approx(device, rel=0.05)
    assert found.phases["step"] / GIB == pytest.approx(host, rel=0.12)
    assert found.phases["prepared"] / GIB == pytest.approx(prepared, abs=0.8)


def test_a_model_is_whole_on_a_gpu_before_zero_cuts_it() -> None:
    """And twice so where it is made flat; without 16 bits both are larger."""
    for precision, wide in (("bf16", 2), ("no", 4)):
        size = ModelSize.of("small", d_embed=384, segments=16, precision=precision)  # type: ignore[arg-type]
        count = size.parameters
        alike = Job(size, precision, 4, 4, 8, 1, on_gpu=True)  # type: ignore[arg-type]
        offloaded = Strategy("zero3", offloads_optimizer=True, offloads_parameters=True)
        assert estimate(offloaded, alike).device_prepared == wide * count
        assert estimate(Strategy("zero2", offloads_optimizer=True), alike).device_prepared == 2 * wide * count
