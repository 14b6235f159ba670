"""One row of the plan beside real steps, on this machine's GPU: ``python -m benchmarks.gpu_plan RESULT ROW [--gib 7]``.

For the parts ``fit`` and ``small-card`` of ``benchmarks.gpu_all``, which gives it a process and a time of its own. ``ROW`` is one of
``ROWS``, or ``chosen``: what the plan chooses, for a GPU of ``--gib`` or for the one that is here. With ``--gib`` the process may take
no more of it than such a GPU has left for tensors (``set_per_process_memory_fraction``), so that what does not fit fails. Without a
GPU the same steps are taken on the CPU, and memory is the host's.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.gpu_all_result import Fact
from redheart.config import Config, with_settings
from redheart.machine import GIB, inspect_machine
from redheart.plan.auto import request_of
from redheart.plan.choice import Plan, Row, make_plan
from redheart.plan.hardware import CONTEXT_BYTES, Hardware
from redheart.plan.memory import estimate
from redheart.plan.strategies import Strategy
from redheart.storage import write_json
from redheart.workflow.examinations.plan_measured import measure_row

#: Name -> strategy, and forward passes a step.
ROWS: dict[str, tuple[Strategy, int]] = {
    "ZeRO-2": (Strategy("zero2"), 2),
    "ZeRO-3": (Strategy("zero3"), 2),
    "plain, recomputing": (Strategy("plain", recomputes=True), 2),
    "plain": (Strategy("plain"), 1),
    "plain, two passes": (Strategy("plain"), 2),
    "ZeRO-2, optimizer offload": (Strategy("zero2", offloads_optimizer=True), 2),
    "ZeRO-3, offload": (Strategy("zero3", offloads_optimizer=True, offloads_parameters=True), 2),
}
_BATCH, _SEGMENTS, _STEPS = 64, 16, 4


def row_of(name: str, plan: Plan) -> Row:
    """A row as the plan has it for one device, in as many passes as are wanted here."""
    if name == "chosen":
        return plan.taken
    strategy, passes = ROWS[name]
    job = replace(plan.rows[0].job, micro_batch=_BATCH // passes, passes=passes)
    return Row(strategy, job, plan.hardware, estimate(strategy, job), (0, 0))


def facts(name: str, plan: Plan, row: Row, device_limit: int | None) -> Iterator[Fact]:
    """Takes the steps."""
    job = row.job
    yield Fact(name, text=f"{row.strategy.name}, micro-batch {job.micro_batch} × {job.passes}")
    config = with_settings(
        Config(), {"training.global_batch_size": _BATCH, "training.precision": plan.request.precision}
    )
    found = measure_row(config, plan, row, steps=_STEPS, saves=False, device_limit=device_limit)
    places = {"GPU": "GPU", "step": "host in a step", "prepared": "host when prepared"}
    for phase, place in places.items():
        if phase in found.memory:
            planned, measured = found.memory[phase]
            if not measured:  # a GPU that is only described
                continue
            yield Fact(f"{name}: {place}, planned", planned / GIB, "GiB")
            yield Fact(f"{name}: {place}, measured", measured / GIB, "GiB")
            yield Fact(f"{name}: {place}, measured / planned", measured / planned, "times")
    reckoned, taken = found.step_seconds
    yield Fact(f"{name}: a step, reckoned", 1e3 * reckoned, "ms")
    yield Fact(f"{name}: a step, measured", 1e3 * taken, "ms")
    yield Fact(f"{name}: speed", _BATCH / taken, "situations/s")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures one row and leaves its facts in ``RESULT``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("row", choices=(*ROWS, "chosen"))
    parser.add_argument("--preset", default="730m")
    parser.add_argument("--gib", type=float, help="GiB of the GPU that the process may take")
    options = parser.parse_args(arguments)
    here = Hardware.of(inspect_machine(Path.cwd()))
    size = None if options.gib is None else int(options.gib * GIB)
    hardware = here.given(gpus=1 if here.has_gpu else None, gpu_bytes=size, host_bytes=None, nodes=None)
    config = with_settings(Config(), {"training.global_batch_size": _BATCH})
    request = replace(request_of(config, options.preset, hardware, segments=_SEGMENTS), situations=None)
    if not here.has_gpu:  # described or not, the steps are taken on this CPU
        request = replace(request, precision="no")
    plan = make_plan(request, hardware)
    limit = None if size is None else size - CONTEXT_BYTES
    found = list(facts(options.row, plan, row_of(options.row, plan), limit))
    write_json(options.result, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
