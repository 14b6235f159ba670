"""The choice: what is taken on machines from a small card to two nodes, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from redheart.errors import ConfigError
from redheart.machine import GIB
from redheart.plan.choice import Plan, Request, make_plan
from redheart.plan.hardware import Hardware
from redheart.plan.strategies import Strategy

BIG = Request("730m", "bf16", 64, 16, situations=10_000)


def plan(gpus: int, gpu_gib: float, host_gib: float, *, nodes: int = 1, request: Request = BIG) -> Plan:
    return make_plan(request, Hardware(gpus, int(gpu_gib * GIB), int(host_gib * GIB), 16, nodes))


def chosen(found: Plan) -> tuple[Strategy, int, int]:
    assert found.chosen is not None
    return found.chosen.strategy, found.chosen.job.micro_batch, found.chosen.job.passes


@pytest.mark.parametrize(
    ("machine", "strategy", "micro_batch", "passes"),
    [
        ((1, 8, 32), Strategy("zero2", offloads_optimizer=True), 64, 1),
        ((1, 24, 64), Strategy("plain"), 64, 1),
        ((1, 80, 128), Strategy("plain"), 64, 1),
        ((4, 24, 256), Strategy("ddp"), 16, 1),
        ((4, 8, 64), Strategy("zero2"), 16, 1),
        ((4, 5, 64), Strategy("zero3"), 8, 2),
    ],
)
def test_730m(machine: tuple[int, int, int], strategy: Strategy, micro_batch: int, passes: int) -> None:
    assert chosen(plan(*machine)) == (strategy, micro_batch, passes)


def test_of_two_nodes_all_devices_share() -> None:
    found = plan(8, 80, 512, nodes=2)
    assert found.chosen is not None and found.chosen.job.processes == 16 and found.chosen.job.on_node == 8


@pytest.mark.parametrize("gpu_gib", [2, 4, 6, 8, 10, 12, 13, 14, 16, 24, 48])
@pytest.mark.parametrize("gpus", [1, 2, 4])
def test_offload_is_never_chosen_where_the_model_fits_without(gpus: int, gpu_gib: int) -> None:
    found = plan(gpus, gpu_gib, 512)
    without = [row for row in found.rows if row.fits and not row.strategy.offloads_optimizer]
    if found.chosen is not None and found.chosen.strategy.offloads_optimizer:
        assert not without
    if without:
        assert found.chosen in without


@pytest.mark.parametrize("gpu_gib", [5, 8, 12, 14, 24])
def test_what_is_chosen_fits_with_the_largest_micro_batch_that_does(gpu_gib: int) -> None:
    request = replace(BIG, global_batch=4096)
    found = plan(1, gpu_gib, 256, request=request)
    row = found.chosen
    assert row is not None
    assert row.estimate.device_needed <= found.hardware.usable_gpu_bytes
    assert row.job.micro_batch * row.job.passes * row.job.processes == 4096
    larger = make_plan(replace(request, micro_batch=row.job.micro_batch * 2), found.hardware)
    same = next(one for one in larger.rows if one.strategy == row.strategy)
    assert row.job.micro_batch == 4096 or not same.fits


def test_a_small_card_and_little_host_memory_are_refused_with_what_is_lacking() -> None:
    found = plan(1, 8, 12)
    assert found.chosen is None
    assert found.closest.lacks[1] > 0
    assert plan(1, 8, 12, request=replace(BIG, preset="small")).chosen is not None


@pytest.mark.parametrize(("host_gib", "fits"), [(24, True), (13, True), (6, False)])
def test_730m_without_a_gpu(host_gib: int, fits: bool) -> None:
    found = make_plan(replace(BIG, precision="no", global_batch=32), Hardware(0, 0, host_gib * GIB, 2))
    assert (found.chosen is not None) == fits
    assert {row.strategy.kind for row in found.rows} == {"plain"}


def test_a_strategy_takes_no_less_with_more_situations_or_fewer_devices() -> None:
    for one, four in zip(
        (row for row in plan(2, 80, 512).rows if row.strategy.is_sharded),
        (row for row in plan(4, 80, 512).rows if row.strategy.is_sharded),
        strict=True,
    ):
        assert one.strategy == four.strategy
        assert one.estimate.device.total > four.estimate.device.total


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        (replace(BIG, global_batch=30), "30 can't be shared evenly by 4 processes; the nearest that can: 32"),
        (replace(BIG, global_batch=2), "the nearest that can: 4"),
        (replace(BIG, micro_batch=5), "micro_batch_size 5"),
        (replace(BIG, passes=3), "gradient_accumulation_steps 3"),
        (replace(BIG, micro_batch=8, passes=4), "micro_batch_size 8 and training.gradient_accumulation_steps 4"),
    ],
)
def test_a_batch_that_can_not_be_cut_is_refused(request_: Request, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        plan(4, 24, 256, request=request_)


def test_a_cut_that_was_asked_for_is_kept() -> None:
    assert chosen(plan(4, 24, 256, request=replace(BIG, passes=4)))[1:] == (4, 4)
    assert chosen(plan(4, 24, 256, request=replace(BIG, micro_batch=2)))[1:] == (2, 8)


def test_zero_1_in_bf16_is_not_offered_and_in_fp32_it_is() -> None:
    """DeepSpeed takes an optimizer of another kind for it, which the engine does not know."""
    kinds = [
        {row.strategy.kind for row in plan(4, 80, 512, request=replace(BIG, precision=one)).rows}
        for one in ("bf16", "no")
    ]
    assert "zero1" not in kinds[0] and "zero1" in kinds[1]
