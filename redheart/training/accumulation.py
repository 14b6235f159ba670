"""The passes of a global batch: forward and backward of its micro-batches, again in smaller ones where memory ran out.

Dropped is nothing: a batch that does not fit is computed again from its beginning, with the random numbers that it began with. Where
several processes each hold the whole model they agree first, so that one that ran out takes the others along.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from redheart.batches.order import Indices
from redheart.batches.out_of_memory import MemoryFailure, is_out_of_memory
from redheart.batches.prepared import PreparedBatch, prepare_batch
from redheart.batches.table import SituationTable
from redheart.engine.contract import Engine
from redheart.errors import OutOfMemory
from redheart.messages import warn
from redheart.model.batch import Batch
from redheart.model.losses import Losses, compute_losses
from redheart.model.r_drop import with_divergence
from redheart.model.statistics import TargetStatistics
from redheart.training.out_of_memory import Happened, OomLog

#: Seeds that PyTorch's generators have. Seed, step and process together are folded into them.
_SEEDS = 1 << 64
_WAY_OUT = "choose a smaller model.preset, or the strategy that `redheart plan` names"


class BatchLoss(NamedTuple):
    """A global batch's loss over all processes, on the device.

    Attributes:
        total: ().
        names: of its terms.
        sums: (1 + terms,) the total, and each term unweighted.
    """

    total: Tensor
    names: list[str]
    sums: Tensor


class Accumulation:
    """Computes global batches.

    Args:
        oom: told of every time that memory ran out.
    """

    def __init__(
        self, engine: Engine, table: SituationTable, statistics: TargetStatistics, *, seed: int, oom: OomLog
    ) -> None:
        self._engine = engine
        self._table = table
        self._statistics = statistics
        self._config = engine.config.training
        self._seed = seed
        self._oom = oom
        self._phase = ""

    def compute(self, batch: Indices, prepared: PreparedBatch | None, *, epoch: int, step: int) -> BatchLoss:
        """Loss and gradients of ``batch``. Collective.

        Args:
            prepared: it, gathered ahead of need; None, or in another cut than now: it is gathered here.

        Raises:
            OutOfMemory: a single situation does not fit into memory, or the others can't be told that the batch does not.
        """
        engine = self._engine
        while True:
            failure: MemoryFailure | None = None
            try:
                if prepared is None or prepared.geometry != engine.geometry:
                    self._phase = "gathering"
                    prepared = prepare_batch(self._table, batch, engine.geometry, engine.rank)
                names, sums = self._passes(prepared, step)
                if not self._config.no_param_update:
                    self._phase = "optimizer"
                    engine.make_missing_state()
            except (RuntimeError, MemoryError, OSError) as error:
                if not is_out_of_memory(error):
                    raise
                failure = MemoryFailure.of(error, self._phase)
            # Outside the handler: the exception's frames hold the tensors that have to go.
            if failure is not None and not engine.can_recut_batches:
                raise self._ended(failure, epoch, step)
            if engine.finish_backward(failed=failure is not None):
                sums = engine.sum_over_processes(sums)
                return BatchLoss(sums[0], names, sums)
            self.shrink(failure, epoch, step)

    def _ended(self, failure: MemoryFailure, epoch: int, step: int) -> OutOfMemory:
        """The other processes are inside a collective operation already and can't be told: the exception to raise."""
        engine, smaller = self._engine, self._engine.geometry.halved()
        happened = Happened(
            epoch, step, engine.geometry.micro_batch_size, smaller.micro_batch_size if smaller else None
        )
        self._oom.record(failure, happened, rank=engine.rank, ends=True)
        return OutOfMemory(
            _single(failure)
            if smaller is None
            else f"out of memory on process {engine.rank} ({failure.message}): start again with "
            f"training.micro_batch_size={smaller.micro_batch_size}; the global batch stays, by accumulation",
            memory=failure.memory,
            phase=failure.phase,
        )

    def shrink(self, failure: MemoryFailure | None, epoch: int, step: int) -> None:
        """Drops what was computed, and goes on with half the micro-batch. Every process of the group is here."""
        engine, before = self._engine, self._engine.geometry
        smaller = before.halved()
        engine.skip_step()
        happened = Happened(epoch, step, before.micro_batch_size, smaller.micro_batch_size if smaller else None)
        first = self._oom.record_together(failure, happened, engine)
        if smaller is None:
            raise OutOfMemory(_single(first), memory=first.memory, phase=first.phase)
        warn("training.smaller_micro_batch", before=before.micro_batch_size, after=smaller.micro_batch_size)
        engine.geometry = smaller

    def _passes(self, prepared: PreparedBatch, step: int) -> tuple[list[str], Tensor]:
        """Forward and backward of this process's micro-batches; the terms' names, and this process's part of their sums."""
        engine = self._engine
        self._phase = "forward"
        counts = _moved(prepared.counts, engine.device)
        names: list[str] = []
        sums = torch.zeros(1, device=engine.device)
        if not engine.model.training:  # to tell every module takes as long as a small model's update
            engine.model.train()
        # Dropout is a function of seed, step and process, so that a resumed run draws what it would have drawn.
        drawn = (self._seed * 1_000_003 + step) * 4_096 + engine.rank
        torch.manual_seed(drawn % _SEEDS)
        with engine.keeping_casts():
            for number, piece in enumerate(prepared.pieces):
                self._phase = "forward"
                losses = self._losses(piece.to(engine.device, non_blocking=True), counts)
                self._phase = "backward"
                engine.backward(losses.total, is_last=number == len(prepared.pieces) - 1)
                names = list(losses.terms)  # the same in every micro-batch: what the model has
                sums = sums + torch.stack([losses.total.detach(), *(term.detach() for term in losses.terms.values())])
        return names, sums

    def _losses(self, data: Batch, counts: dict[str, Tensor]) -> Losses:
        """Forward pass of a micro-batch – under R-Drop two – and its share of the batch's loss."""
        r_drop, smoothing = self._config.r_drop, self._config.label_smoothing
        passed = data.twice() if r_drop else data
        with self._engine.autocast():
            outputs = self._engine.model(*passed.inputs)
        if not r_drop:
            return compute_losses(outputs, data, self._statistics, counts, label_smoothing=smoothing)
        twice = {name: 2 * count for name, count in counts.items()}
        losses = compute_losses(outputs, passed, self._statistics, twice, label_smoothing=smoothing)
        return with_divergence(losses, outputs, data, counts, r_drop)


def _moved(counts: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """All of them in one copy."""
    return dict(zip(counts, torch.stack(list(counts.values())).to(device).unbind(), strict=True))


def _single(failure: MemoryFailure) -> str:
    if failure.phase == "optimizer":
        return (
            f"out of memory where the optimizer's state is made ({failure.message}): it takes twice the memory of the weights. "
            f"{_WAY_OUT[0].upper()}{_WAY_OUT[1:]}"
        )
    return f"out of memory with a micro-batch of one situation ({failure.message}): {_WAY_OUT}"
