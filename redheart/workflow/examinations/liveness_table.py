"""An examination of liveness as a table for people and as JSON for programs."""

from __future__ import annotations

import json

import msgspec

from redheart.health.gradient_check import GradientCheck
from redheart.health.liveness_check import complaints
from redheart.machine import GIB
from redheart.messages import text
from redheart.workflow.examinations.liveness import LivenessExamination


def as_json(found: LivenessExamination) -> str:
    return json.dumps(msgspec.to_builtins(found.record()), indent=2, ensure_ascii=False)


def as_table(found: LivenessExamination) -> str:
    """One row per module, then what is dead, what the data lack, and what it took."""
    report = found.report
    lines = [f"{'module':<28}{'tensors':>9}{'alive':>7}{'gradient':>11}{'update':>10}{'rows':>9}{'dead rows':>11}"]
    for one in report.modules():
        lines.append(
            f"{one.module:<28}{one.tensors:>9}{one.alive:>7}{_number(one.smallest_gradient):>11}"
            f"{_number(one.smallest_update):>10}{one.rows:>9}{one.dead_rows:>11}"
        )
    tensors, alive = len(report.tensors), sum(tensor.is_alive for tensor in report.tensors)
    rows = sum(tensor.rows for tensor in report.tensors)
    dead_rows = sum(len(tensor.dead_rows) for tensor in report.tensors)
    lines.append(f"{'total':<28}{tensors:>9}{alive:>7}{'':>11}{'':>10}{rows:>9}{dead_rows:>11}")
    lines.append(
        "gradient: the smallest root mean square of a tensor's, relative to the median of its group (at least 1e-06)"
    )
    lines.append("update: the smallest relative change of a tensor, weight decay set aside (more than 0)")
    lines += [f"❌ {line}" for line in complaints(report)]
    if report.lacking:
        lines.append(
            f"not in these batches: {', '.join(report.lacking)}; tensors that need them: {len(report.untrainable)}"
        )
    if report.longest == 1:
        lines.append("every story has a single segment: attention and filters have nothing to relate")
    if found.gradients is not None:
        lines += _gradient_lines(found.gradients)
    device = f", {found.peak_device_bytes / GIB:.1f} GiB on the GPU" if found.peak_device_bytes else ""
    lines.append(
        f"{found.preset}: {found.parameters / 1e6:.1f}M parameters, {report.steps} batches of {found.batch_size} real "
        f"situations, {found.engine} × {found.world_size} on {found.device} in {found.precision}: "
        f"{found.seconds_a_step:.2f} s per step, peak memory {found.peak_host_bytes / GIB:.1f} GiB{device}"
    )
    lines.append(f"{'✅' if found.is_alive else '❌'} {alive} of {tensors} tensors alive, {dead_rows} dead rows")
    return "\n".join(lines)


def _gradient_lines(checked: GradientCheck) -> list[str]:
    lines = [
        f"❌ {one.name}: {text('training.liveness_wrong_gradient', error=max(one.errors))}" for one in checked.wrong
    ]
    lines.append(
        f"float64: autograd and finite differences agree in {len(checked.tensors) - len(checked.wrong)} of "
        f"{len(checked.tensors)} tensors, to {checked.largest_error:.1e} at worst"
    )
    return lines


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1e}"
