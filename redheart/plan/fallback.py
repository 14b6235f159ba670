"""The strategy that is left where others ran out of memory: the plan's next that needs less of what ran out than each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from redheart.errors import Memory
from redheart.plan.choice import Plan, Row
from redheart.plan.memory import Estimate, Job, estimate
from redheart.plan.strategies import Strategy


@dataclass(frozen=True, slots=True)
class Shortage:
    """That a strategy ran out of memory with the smallest pieces that help.

    Attributes:
        memory: which of them.
        has_begun: a step had been begun; else the model was being made, or prepared.
    """

    strategy: Strategy
    processes: int
    memory: Memory
    has_begun: bool


def next_row(plan: Plan, failed: Sequence[Shortage]) -> Row | None:
    """The best of what is left, with the largest micro-batch that is reckoned to need less than what failed; None: nothing is.

    What failed is reckoned with the cut that takes the least: a micro-batch of one situation, or in 16 bits, where several
    passes take more than one, a larger one.
    """
    least = [(one, min(_needed(found, one) for found in _cuts_of(plan, one))) for one in failed]
    gone = {one.strategy for one in failed}
    left = (row for row in plan.rows if row.fits and row.strategy not in gone)
    for row in sorted(left, key=lambda one: one.rank):
        for job in _cuts(row.job, row.job.micro_batch):
            found = estimate(row.strategy, job)
            if all(_needed(found, one) < bound for one, bound in least):
                return replace(row, job=job, estimate=found)
    return None


def _cuts(job: Job, most: int) -> Iterator[Job]:
    """The same share of a batch in micro-batches of at most so many situations, the largest first."""
    share = job.micro_batch * job.passes
    for size in range(min(most, share), 0, -1):
        if share % size == 0:
            yield replace(job, micro_batch=size, passes=share // size)


def _cuts_of(plan: Plan, failed: Shortage) -> Iterator[Estimate]:
    processes = failed.processes
    share = max(1, plan.request.global_batch // processes)
    on_node = max(1, processes // plan.hardware.nodes)
    job = replace(plan.rows[0].job, processes=processes, on_node=on_node, micro_batch=1, passes=share)
    return (estimate(failed.strategy, one) for one in _cuts(job, share))


def _needed(found: Estimate, short: Shortage) -> int:
    """Of the memory that ran out, when it did."""
    if short.memory == "device":
        return found.device_needed
    if short.has_begun:
        return max(found.host.total, found.phases["step"], found.phases["save"])
    return max(found.phases[phase] for phase in ("model", "start", "prepared"))
