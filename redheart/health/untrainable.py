"""Untrainable parameters: only inputs or targets that the data lack could train them. Not dead, and not judged.

Two passes with made-up targets tell, on the model as it is and under whatever engine: one with the targets that some
situation had, one with those that none had. What gets a gradient in the second alone is untrainable. Neither pass leaves a trace;
where the data have every target there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from redheart.batches.table import SituationTable
from redheart.engine.contract import Engine
from redheart.health.data_coverage import DataCoverage
from redheart.model.batch import Batch
from redheart.model.losses import TARGETS, compute_losses, valid_counts
from redheart.model.rows import as_rows, input_axes
from redheart.tasks import TASK_BY_NAME

#: The embedding of the kinds of segments: the one parameter whose rows the inputs decide about.
KIND_EMBEDDING = "backbone.kind.weight"
SITUATIONS = 8


@dataclass(frozen=True)
class Untrainable:
    """By tensor, (outputs,) bool: the rows that nothing in the data could train. Tensors without such rows are absent."""

    rows: Mapping[str, Tensor] = field(default_factory=dict)

    def whole(self) -> frozenset[str]:
        """Names of the tensors that are so in all rows."""
        return frozenset(name for name, rows in self.rows.items() if bool(rows.all()))


def find_untrainable(engine: Engine, table: SituationTable, coverage: DataCoverage) -> Untrainable:
    """What ``coverage`` could not have trained. Between two steps only; collective."""
    untrainable: dict[str, Tensor] = {}
    if not coverage.has_all_targets:
        with_covered = _row_norms(engine, _made_up(table, lambda target: torch.from_numpy(coverage.targets[target])))
        with_rest = _row_norms(engine, _made_up(table, lambda target: torch.from_numpy(~coverage.targets[target])))
        for name, norms in with_rest.items():
            rows = norms.ne(0) & (with_covered[name].eq(0) if name in with_covered else True)
            if bool(rows.any()):
                untrainable[name] = rows
    if not coverage.kinds.all():
        untrainable[KIND_EMBEDDING] = torch.from_numpy(~coverage.kinds) | untrainable.get(
            KIND_EMBEDDING, torch.tensor(False)
        )
    return Untrainable(untrainable)


def _made_up(table: SituationTable, known: Callable[[str], Tensor]) -> Batch:
    """The first training situations with random targets where ``known`` – (dims,) bool by target – says so."""
    batch = table.batch(table.split_indices["train"][:SITUATIONS])
    generator = torch.Generator().manual_seed(0)
    targets, masks = {}, {}
    for target, task in TARGETS.items():
        values = torch.rand(batch.targets[target].shape, generator=generator)
        targets[target] = values / values.sum(1, keepdim=True) if TASK_BY_NAME[task].is_distribution else values
        masks[target] = known(target).expand(len(batch), -1)
    return replace(batch, targets=targets, target_mask=masks)


def _row_norms(engine: Engine, batch: Batch) -> dict[str, Tensor]:
    """Norms of the gradient's rows, on the CPU, of the batch's loss without dropout; the gradient is dropped."""
    batch = batch.to(engine.device)
    axes = input_axes(engine.unwrapped)
    engine.model.eval()
    with engine.autocast():
        outputs = engine.model(*batch.inputs)
    counts = {name: count * engine.world_size for name, count in valid_counts(batch).items()}
    engine.backward(compute_losses(outputs, batch, engine.unwrapped.statistics, counts).total, is_last=True)
    engine.finish_backward()
    norms = {
        name: torch.linalg.vector_norm(as_rows(gradient, axes[name]).float(), dim=1).cpu()
        for name, gradient in engine.gradients()
        if gradient is not None
    }
    engine.skip_step()
    engine.model.train()
    return norms
