"""The liveness check's log lines: each dead tensor, with the module that it is part of."""

from __future__ import annotations

from collections import Counter

from redheart.engine.contract import Engine
from redheart.errors import TrainingError
from redheart.health.dead_tensors import MIN_GRADIENT, LivenessReport, TensorLiveness
from redheart.health.liveness import LivenessProbe
from redheart.messages import info, text, warn

#: Dead tensors that get a line of their own; of more, the rest is counted by module.
MAX_NAMED = 20


def announce_liveness(probe: LivenessProbe, engine: Engine, *, strict: bool) -> None:
    """Says what ``probe`` found in the steps that it observed, if there were any. Collective.

    Raises:
        TrainingError: under ``strict``, on every process, naming the dead.
    """
    if not probe.observed:
        return
    report = probe.report()
    for line in complaints(report):
        warn("training.liveness_dead", line=line)
    if report.untrainable or any(tensor.unseen_rows for tensor in report.tensors):
        info("training.liveness_untrainable", count=len(report.untrainable), lacking=", ".join(report.lacking))
    if report.is_alive:
        _announce_alive(report)
    elif engine.any_rank(strict):
        names = [tensor.name for tensor in (*report.dead, *report.with_dead_rows)]
        shown = ", ".join(names[:MAX_NAMED]) + (", …" if len(names) > MAX_NAMED else "")
        raise TrainingError(f"training.strict: dead in the first {report.steps} steps: {shown}")


def _announce_alive(report: LivenessReport) -> None:
    """By the faintest of the tensors that something in the data trains."""
    fed = [tensor for tensor in report.tensors if not tensor.is_untrainable]
    gradient = min(tensor.relative_gradient for tensor in fed)
    if report.updates:
        update = min(tensor.relative_update or 0.0 for tensor in fed)
        info("training.liveness", count=len(fed), steps=report.steps, gradient=gradient, update=update)
    else:
        info("training.liveness_dry", count=len(fed), steps=report.steps, gradient=gradient)


def complaints(report: LivenessReport) -> list[str]:
    """A line for each dead tensor and each tensor with dead rows, with its module, its group and what is wrong."""
    wrong = [*report.dead, *report.with_dead_rows]
    lines = [
        text("training.liveness_tensor", name=one.name, module=one.module, group=one.group, faults=faults(one))
        for one in wrong[:MAX_NAMED]
    ]
    if len(wrong) > MAX_NAMED:
        rest = Counter(one.module for one in wrong[MAX_NAMED:])
        modules = ", ".join(f"{module} {count}" for module, count in rest.items())
        lines.append(text("training.liveness_more", count=len(wrong) - MAX_NAMED, modules=modules))
    return lines


def faults(tensor: TensorLiveness) -> str:
    """Why it is dead, or which of its rows are, in words."""
    words = {
        "not_held": text("training.liveness_not_held"),
        "no_gradient": text("training.liveness_no_gradient"),
        "faint_gradient": text(
            "training.liveness_faint_gradient", relative=tensor.relative_gradient, allowed=MIN_GRADIENT
        ),
        "no_update": text("training.liveness_no_update"),
    }
    found = [words[fault] for fault in tensor.faults]
    if tensor.dead_rows:
        found.append(
            text("training.liveness_dead_rows", count=len(tensor.dead_rows), rows=tensor.rows, ranges=_ranges(tensor))
        )
    return ", ".join(found)


def _ranges(tensor: TensorLiveness) -> str:
    """Row numbers as ranges: ``0–3, 7``; the first few."""
    ranges: list[list[int]] = []
    for row in tensor.dead_rows:
        if ranges and row == ranges[-1][1] + 1:
            ranges[-1][1] = row
        else:
            ranges.append([row, row])
    shown = [f"{first}–{last}" if first != last else str(first) for first, last in ranges[:5]]
    return ", ".join(shown) + (", …" if len(ranges) > 5 else "")
