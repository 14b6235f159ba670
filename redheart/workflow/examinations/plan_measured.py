"""The plan beside a measurement: a probe's steps by the strategy that is chosen, in processes of their own."""

from __future__ import annotations

from dataclasses import dataclass

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
        pairs["GPU"] = (row.estimate.device_needed, max(one.device_peak for one in found.values()))
    return pairs


@dataclass(frozen=True)
class Compared:
    """The plan and the measurement, in this order.

    Attributes:
        memory: bytes by phase, see ``planned_and_measured``.
        step_seconds: of a step; the plan's is reckoned from makers' figures.
    """

    memory: dict[str, tuple[int, int]]
    step_seconds: tuple[float, float]


def measure_row(
    config: Config, plan: Plan, row: Row, *, steps: int = 2, saves: bool = True, device_limit: int | None = None
) -> Compared:
    """Takes steps by ``row``'s strategy, and compares. For the rest see ``redheart.probe.process.Probe``.

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
        steps=steps,
        saves=saves,
        device_limit=device_limit,
    )
    assert found.step_seconds is not None
    return Compared(planned_and_measured(row, found.phases), (row.time.total, found.step_seconds))


def as_table(compared: Compared) -> str:
    """In GiB and seconds, with the ratio."""
    rows = [["", "plan", "measured", "measured / plan"]]
    for phase, (planned, measured) in compared.memory.items():
        ratio = f"{measured / planned:.2f}" if planned else "–"
        rows.append([f"{phase}, GiB", in_gib(planned), in_gib(measured), ratio])
    reckoned, taken = compared.step_seconds
    rows.append(["a step, s", f"{reckoned:.3g}", f"{taken:.3g}", f"{taken / reckoned:.2f}"])
    return "\n".join(aligned(rows, right=(1, 2, 3)))
