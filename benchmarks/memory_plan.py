"""The plan's memory beside real steps: ``python -m benchmarks.memory_plan [--preset small] [--rows zero3-no …]``.

Each row is a few real steps of a strategy in processes of their own (``redheart.probe``), with the plan's number for each phase. For
ZeRO the peer is DeepSpeed's own estimator of model states, which knows nothing of activations, buffers and processes. Rows are kept in
``benchmarks/results/memory_plan.json`` with device, versions and date; a row that is measured again takes its old one's place.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import msgspec
import torch

from benchmarks.startup import _processor
from redheart.config import Config, with_settings
from redheart.machine import GIB, Precision
from redheart.plan.choice import Row
from redheart.plan.hardware import Hardware
from redheart.plan.memory import Job, estimate
from redheart.plan.model_size import ModelSize
from redheart.plan.strategies import Kind, Strategy
from redheart.probe.measure import measure
from redheart.storage import write_json
from redheart.workflow.examinations.plan_measured import planned_and_measured

RESULT = Path(__file__).parent / "results" / "memory_plan.json"
#: How far a measurement may be from the plan.
WITHIN = 0.15
#: Strategy, precision, processes, micro-batch, passes a step.
ROWS: dict[str, tuple[Kind, Precision, int, int, int]] = {
    "plain-no": ("plain", "no", 1, 8, 2),
    "plain-bf16": ("plain", "bf16", 1, 8, 2),
    "ddp-no": ("ddp", "no", 2, 8, 1),
    "zero1-no": ("zero1", "no", 2, 8, 1),
    "zero2-no": ("zero2", "no", 2, 8, 1),
    "zero3-no": ("zero3", "no", 2, 8, 1),
    "zero2-bf16": ("zero2", "bf16", 2, 8, 1),
    "zero3-bf16": ("zero3", "bf16", 2, 8, 1),
}


class Pair(msgspec.Struct):
    """GiB."""

    planned: float
    measured: float

    @property
    def ratio(self) -> float:
        return self.measured / self.planned


class MeasuredRow(msgspec.Struct):
    """One strategy.

    Attributes:
        states_by_deepspeed: GiB, what its estimator says for all processes; None: it is plain.
    """

    phases: dict[str, Pair]
    states_by_deepspeed: float | None
    device: str
    versions: dict[str, str]
    date: str


def _states_by_deepspeed(strategy: Strategy, job: Job) -> float | None:
    if not strategy.is_sharded or strategy.kind == "zero1":
        return None
    from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs

    if strategy.kind == "zero2":
        _, device = estimate_zero2_model_states_mem_needs(job.size.parameters, job.processes, 1, False, 1.0)
    else:
        _, device, _ = estimate_zero3_model_states_mem_needs(
            job.size.parameters, job.size.largest_layer, job.processes, 1, False, False, False, 1.0
        )
    return float(device) * job.processes / GIB


def measured_row(preset: str, name: str) -> MeasuredRow:
    """Takes the steps of one row."""
    kind, precision, processes, micro_batch, passes = ROWS[name]
    strategy = Strategy(kind)
    size = ModelSize.of(preset, d_embed=384, segments=16, precision=precision)
    job = Job(size, precision, processes, processes, micro_batch, passes, on_gpu=False)
    row = Row(strategy, job, Hardware(0, 0, 0, 2), estimate(strategy, job), (0, 0))
    settings = {
        "model.preset": preset,
        "training.precision": precision,
        "training.micro_batch_size": micro_batch,
        "training.global_batch_size": micro_batch * passes * processes,
    }
    found = measure(
        with_settings(Config(), settings),
        launch_file=strategy.launch_file(on_gpu=False),
        processes=processes,
        segments=16,
    ).phases
    return MeasuredRow(
        {
            phase: Pair(round(planned / GIB, 3), round(measured / GIB, 3))
            for phase, (planned, measured) in planned_and_measured(row, found).items()
        },
        _states_by_deepspeed(strategy, job),
        _processor(),
        {name: version(name) for name in ("torch", "accelerate", "deepspeed")},
        datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def told(preset: str, name: str, row: MeasuredRow) -> str:
    """One line."""
    phases = ", ".join(
        f"{phase} {pair.planned:.2f} / {pair.measured:.2f} ({pair.ratio:.2f})" for phase, pair in row.phases.items()
    )
    beside = (
        ""
        if row.states_by_deepspeed is None
        else f"; DeepSpeed's estimate of the states: {row.states_by_deepspeed:.2f}"
    )
    return f"{preset} {name}: GiB planned / measured: {phases}{beside}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints and stores; 0 if every phase is near enough."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="small", choices=("tiny", "small", "730m"))
    parser.add_argument("--rows", nargs="+", choices=tuple(ROWS), default=list(ROWS))
    options = parser.parse_args(arguments)
    if torch.cuda.is_available():
        parser.error("this is of a machine without a GPU; on one with: benchmarks/gpu_all.sh")
    stored: dict[str, MeasuredRow] = {}
    if RESULT.exists():
        stored = msgspec.json.decode(RESULT.read_bytes(), type=dict[str, MeasuredRow])
    is_near = True
    for name in options.rows:
        row = measured_row(options.preset, name)
        print(told(options.preset, name, row), flush=True)
        is_near = is_near and all(abs(pair.ratio - 1.0) <= WITHIN for pair in row.phases.values())
        stored[f"{options.preset} {name}"] = row
        write_json(RESULT, stored)
    return 0 if is_near else 1


if __name__ == "__main__":
    sys.exit(main())
