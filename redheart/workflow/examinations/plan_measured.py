"""The plan beside a measurement: a probe's steps by the strategy that is chosen, in processes of their own."""

from __future__ import annotations

from redheart.config import Config, with_settings
from redheart.inspection.text_table import aligned
from redheart.machine import find_gpus
from redheart.plan.choice import Plan, Row
from redheart.plan.memory import in_gib
from redheart.probe.measure import measure
from redheart.probe.process import PhaseMemory

#: What is compared of each phase: what is there at its end, and of a step the most.
_AT_ITS_PEAK = ("step",)


def planned_and_measured(row: Row, found: dict[str, PhaseMemory]) -> dict[str, tuple[int, int]]:
    """Bytes by phase, over all processes; ``GPU``: of the fullest device, where there is one."""
    pairs = {
        phase: (row.estimate.phases[phase], one.host_peak if phase in _AT_ITS_PEAK else one.host)
        for phase, one in found.items()
    }
    if row.job.on_gpu:
        pairs["GPU"] = (row.estimate.device.total, max(one.device_peak for one in found.values()))
    return pairs


def measure_row(config: Config, plan: Plan, row: Row) -> dict[str, tuple[int, int]]:
    """Takes steps by ``row``'s strategy, and compares.

    Raises:
        TrainingError: a process failed.
    """
    settled = with_settings(
        config,
        {
            "model.preset": plan.request.preset,
            "training.precision": plan.request.precision,
            "training.micro_batch_size": row.job.micro_batch,
            "training.gradient_accumulation_steps": None,
            "training.activation_checkpointing": row.strategy.recomputes,
        },
    )
    found = measure(
        settled,
        launch_file=row.strategy.launch_file(on_gpu=bool(find_gpus())),
        processes=row.job.processes,
        segments=plan.request.segments,
        d_embed=plan.request.d_embed,
    )
    return planned_and_measured(row, found)


def as_table(pairs: dict[str, tuple[int, int]]) -> str:
    """In GiB, with the ratio."""
    rows = [["phase", "plan", "measured", "measured / plan"]]
    for phase, (planned, measured) in pairs.items():
        rows.append([phase, in_gib(planned), in_gib(measured), f"{measured / planned:.2f}" if planned else "–"])
    return "\n".join(aligned(rows, right=(1, 2, 3)))
