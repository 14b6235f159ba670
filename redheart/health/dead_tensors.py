"""Dead tensors: what counts as alive, and the verdict on each tensor and its rows.

A tensor is alive that the optimizer holds, whose gradient over the steps has a root mean square of at least 1e-6 of its
group's median, and that moved beyond weight decay. Less than that share is rounding: a bias that a softmax or a norm
behind it cancels has a gradient that is never exactly zero, and Adam, which divides by its size, moves it all the same.
A row – what one output unit has of its own – is held to the same criteria. What the batches had no data for is named apart.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import torch
from torch import Tensor

from redheart.checkpoint.module_files import module_of
from redheart.health.data_coverage import DataCoverage
from redheart.health.untrainable import Untrainable
from redheart.tasks import MODULES

#: The smallest gradient that training could notice, relative to the median of the tensors of its group.
MIN_GRADIENT = 1e-6
Fault = Literal["not_held", "no_gradient", "faint_gradient", "no_update"]


@dataclass(frozen=True)
class Measured:
    """One tensor over the steps.

    Attributes:
        inputs: numbers per row.
        row_squares: (outputs,) float64: squares of the gradient, summed over inputs and steps.
        relative_update: decay taken out; None where no step was taken.
        still_rows: (outputs,) bool: rows that did not move; None where only a sample was compared.
    """

    name: str
    inputs: int
    is_held: bool
    row_squares: Tensor
    relative_update: float | None
    still_rows: Tensor | None

    def rms(self, steps: int) -> float:
        """Root mean square of the gradient over all steps and elements."""
        return math.sqrt(float(self.row_squares.sum()) / max(1, len(self.row_squares) * self.inputs * steps))


class TensorLiveness(msgspec.Struct, frozen=True):
    """The verdict on one tensor.

    Attributes:
        relative_gradient: its gradient's root mean square over the median of its group's tensors.
        faults: why it is dead; empty: it is alive, or nothing in the data could have trained it.
        is_untrainable: it got no gradient, and only targets that no situation had could have given it one.
        dead_rows: rows of a living tensor that are dead.
        unseen_rows: rows that no situation had data for.
    """

    name: str
    module: str
    group: str
    rows: int
    gradient_rms: float
    relative_gradient: float
    relative_update: float | None
    faults: tuple[Fault, ...]
    is_untrainable: bool = msgspec.field(name="is_unfed")
    dead_rows: tuple[int, ...]
    unseen_rows: tuple[int, ...]

    @property
    def is_alive(self) -> bool:
        return not self.faults and not self.is_untrainable


class ModuleLiveness(msgspec.Struct, frozen=True):
    """A module's tensors in short; the smallest values are over those that the data could train."""

    module: str
    tensors: int
    alive: int
    untrainable: int = msgspec.field(name="unfed")
    smallest_gradient: float | None
    smallest_update: float | None
    rows: int
    dead_rows: int


@dataclass(frozen=True)
class LivenessReport:
    """The verdict on a model.

    Attributes:
        steps: steps whose gradients were seen; ``updates`` of them changed the weights.
        lacking: what no situation of these steps had, in words.
        longest: segments of the longest story; with one there is nothing for attention to relate.
    """

    steps: int
    updates: int
    tensors: tuple[TensorLiveness, ...]
    lacking: tuple[str, ...]
    longest: int

    @property
    def dead(self) -> list[TensorLiveness]:
        return [tensor for tensor in self.tensors if tensor.faults]

    @property
    def with_dead_rows(self) -> list[TensorLiveness]:
        return [tensor for tensor in self.tensors if tensor.dead_rows]

    @property
    def untrainable(self) -> list[TensorLiveness]:
        return [tensor for tensor in self.tensors if tensor.is_untrainable and not tensor.faults]

    @property
    def is_alive(self) -> bool:
        """Whether neither a tensor nor a row is dead. Of an untouched model nothing is known, so it is not."""
        return self.steps > 0 and not self.dead and not self.with_dead_rows

    def modules(self) -> list[ModuleLiveness]:
        return [self._module(module) for module in MODULES]

    def _module(self, module: str) -> ModuleLiveness:
        own = [tensor for tensor in self.tensors if tensor.module == module]
        fed = [tensor for tensor in own if not tensor.is_untrainable]
        updates = [tensor.relative_update for tensor in fed if tensor.relative_update is not None]
        return ModuleLiveness(
            module=module,
            tensors=len(own),
            alive=sum(tensor.is_alive for tensor in own),
            untrainable=len(own) - len(fed),
            smallest_gradient=min((tensor.relative_gradient for tensor in fed), default=None),
            smallest_update=min(updates, default=None),
            rows=sum(tensor.rows for tensor in own),
            dead_rows=sum(len(tensor.dead_rows) for tensor in own),
        )


def judge(
    measured: Sequence[Measured], *, steps: int, updates: int, coverage: DataCoverage, untrainable: Untrainable
) -> LivenessReport:
    """Holds what was measured against the criteria."""
    groups: dict[str, list[float]] = {}
    for one in measured:
        if size := one.rms(steps):
            groups.setdefault(_group(one.name), []).append(size)
    medians = {group: statistics.median(sizes) for group, sizes in groups.items()}
    return LivenessReport(
        steps=steps,
        updates=updates,
        tensors=tuple(_judged(one, steps, medians.get(_group(one.name), 0.0), untrainable) for one in measured),
        lacking=tuple(coverage.lacking()),
        longest=coverage.longest,
    )


def _group(name: str) -> str:
    return module_of(name).partition(".")[0]


def _judged(one: Measured, steps: int, median: float, untrainable: Untrainable) -> TensorLiveness:
    size = one.rms(steps)
    is_untrainable = not size and one.name in untrainable.whole()
    faults: list[Fault] = []
    if not one.is_held:
        faults.append("not_held")
    if not is_untrainable:
        if not size:
            faults.append("no_gradient")
        elif size < MIN_GRADIENT * median:
            faults.append("faint_gradient")
        if one.relative_update is not None and not one.relative_update:
            faults.append("no_update")
    dead, unseen = _dead_rows(one, steps, median, untrainable) if not faults and not is_untrainable else ((), ())
    return TensorLiveness(
        name=one.name,
        module=module_of(one.name),
        group=_group(one.name),
        rows=len(one.row_squares),
        gradient_rms=size,
        relative_gradient=size / median if median else 0.0,
        relative_update=one.relative_update,
        faults=tuple(faults),
        is_untrainable=is_untrainable,
        dead_rows=dead,
        unseen_rows=unseen,
    )


def _dead_rows(
    one: Measured, steps: int, median: float, untrainable: Untrainable
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Rows that are dead, and rows that nothing in the data could have brought to life."""
    sizes = (one.row_squares / (one.inputs * max(1, steps))).sqrt()
    is_dead = sizes < MIN_GRADIENT * median
    if one.still_rows is not None and one.inputs > 1:  # a single number may happen to be back where it was
        is_dead = is_dead | one.still_rows
    is_unseen = is_dead & sizes.eq(0) & untrainable.rows.get(one.name, torch.tensor(False))
    return tuple((is_dead & ~is_unseen).nonzero().flatten().tolist()), tuple(is_unseen.nonzero().flatten().tolist())
