"""The liveness probe: measures while real steps are taken whether every tensor is alive; ``dead_tensors.py`` judges.

Of each tensor: whether the optimizer holds it, the squares of its whole gradient by row over all steps, and how far it
moved beyond weight decay. In the first steps of a training this costs one more pass over each gradient's rows (which the
gradient norms read anyway) and a 128 × 128 sample of each tensor before and after; under ZeRO it gathers each gradient in
each of these steps, where norms alone are gathered now and then. ``redheart doctor liveness`` compares whole tensors, which
takes a second copy of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import torch
from torch import Tensor

from redheart.batches.order import Indices
from redheart.batches.table import SituationTable
from redheart.engine.contract import Engine
from redheart.health.data_coverage import CoverageState, DataCoverage
from redheart.health.dead_tensors import LivenessReport, Measured, judge
from redheart.health.untrainable import find_untrainable
from redheart.health.weight_changes import ChangesState, Take, TensorChange, WeightChanges, sample_of
from redheart.model.rows import as_rows, input_axes


class LivenessState(msgspec.Struct):
    """``LivenessProbe`` as a resume state keeps it, beside its tensors."""

    observed: int
    updates: int
    changes: ChangesState
    coverage: CoverageState = msgspec.field(name="seen")


class LivenessProbe:
    """Watches ``steps`` steps. Starting, observing and reporting are collective under ZeRO: every process must do it.

    Args:
        take: what of each weight is compared before and after: a sample, or ``all_of`` it.

    Attributes:
        observed: steps whose gradients were seen; those that were not finite are not among them.
        updates: those of them that changed the weights.
    """

    def __init__(self, engine: Engine, table: SituationTable, *, steps: int, take: Take = sample_of) -> None:
        self.steps = steps
        self.observed = 0
        self.updates = 0
        self._engine = engine
        self._table = table
        self._is_whole = take is not sample_of
        self._axes = input_axes(engine.unwrapped)
        self._squares: dict[str, Tensor] = {}
        self._row_norms: dict[str, Tensor] = {}
        self._coverage = DataCoverage()
        self._changes = WeightChanges(engine, take)

    @property
    def is_due(self) -> bool:
        """Whether all steps that were asked for have been observed."""
        return self.observed >= self.steps

    def start_of_gradients(self) -> None:
        """Drops what was noted of the step before."""
        self._row_norms = {}

    def see_gradient(self, name: str, gradient: Tensor | None) -> None:
        """Notes the norms of a gradient's rows; they count once the step is added."""
        if gradient is None:
            return
        rows = as_rows(gradient.detach(), self._axes[name])
        self._row_norms[name] = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float32)

    def add(self, batch: Indices, *, updated: bool) -> None:
        """Counts the step whose gradients were seen just now, all finite: its situations, and whether it was taken."""
        for name, norms in self._row_norms.items():
            squares = norms.double().square()
            self._squares[name] = self._squares[name] + squares if name in self._squares else squares
        self._coverage.add(self._table, batch)
        self.observed += 1
        if updated:
            self.updates += 1
            self._changes.stepped()

    def report(self) -> LivenessReport:
        """Judges what was measured so far. Between two steps only.

        The weights as they are now are compared with those at the start.
        """
        changes: dict[str, TensorChange] = {}
        if self.updates:
            changes = {change.name: change for change in self._changes.compare()}
        measured = [self._measured(name, parameter, changes) for name, parameter in self._parameters()]
        return judge(
            measured,
            steps=self.observed,
            updates=self.updates,
            coverage=self._coverage,
            untrainable=find_untrainable(self._engine, self._table, self._coverage),
        )

    def _parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        return list(self._engine.unwrapped.named_parameters())

    def _measured(self, name: str, parameter: torch.nn.Parameter, changes: Mapping[str, TensorChange]) -> Measured:
        shape = tuple(getattr(parameter, "ds_shape", parameter.shape))
        rows, inputs = as_rows(torch.empty(shape, device="meta"), self._axes[name]).shape
        squares = self._squares.get(name)
        change = changes.get(name)
        return Measured(
            name=name,
            inputs=inputs,
            is_held=name in self._engine.held,
            row_squares=torch.zeros(rows, dtype=torch.float64) if squares is None else squares.cpu(),
            relative_update=None if change is None else change.relative,
            still_rows=change.still if change is not None and self._is_whole else None,
        )

    def to_state(self) -> tuple[dict[str, Tensor], LivenessState]:
        """What a run that is stopped in the midst of these steps needs to judge all of them: tensors, and plain values."""
        before, changes = self._changes.to_state()
        tensors = {f"before {name}": tensor for name, tensor in before.items()}
        tensors |= {f"squares {name}": tensor.cpu() for name, tensor in self._squares.items()}
        return tensors, LivenessState(self.observed, self.updates, changes, self._coverage.to_state())

    def restore(self, tensors: Mapping[str, Tensor], state: LivenessState) -> None:
        """The inverse of ``to_state``."""
        by_kind: dict[str, dict[str, Tensor]] = {"before": {}, "squares": {}}
        for key, tensor in tensors.items():
            kind, _, name = key.partition(" ")
            by_kind[kind][name] = tensor
        self._squares = {name: tensor.to(self._engine.device) for name, tensor in by_kind["squares"].items()}
        self._changes.restore(by_kind["before"], state.changes)
        self.observed, self.updates = state.observed, state.updates
        self._coverage = DataCoverage.from_state(state.coverage)
