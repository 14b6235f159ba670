"""The order of batches: a pure function of seed and epoch, so that a run can be resumed or repeated.

A global batch is cut into one micro-batch per process and accumulation step. The cut never changes the loss: each one is
divided by the global batch's valid counts, and one that would be empty carries one masked situation, so that every
process takes part in every collective operation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from redheart.config import TrainingConfig
from redheart.errors import ConfigError

Indices = NDArray[np.int64]
MICRO_BATCH_CAP = 32


@dataclass(frozen=True)
class BatchGeometry:
    """micro_batch_size × gradient_accumulation_steps × world_size = global_batch_size, always."""

    micro_batch_size: int
    gradient_accumulation_steps: int
    world_size: int

    @property
    def global_batch_size(self) -> int:
        return self.micro_batch_size * self.gradient_accumulation_steps * self.world_size

    @classmethod
    def resolve(cls, config: TrainingConfig, world_size: int) -> BatchGeometry:
        """Fills in what the configuration leaves open.

        Raises:
            ConfigError: the three numbers do not multiply to the global batch size.
        """
        total = config.global_batch_size
        if total % world_size:
            raise ConfigError(
                f"training.global_batch_size {total} can't be shared evenly by {world_size} processes; "
                f"the nearest that can: {max(1, round(total / world_size)) * world_size}"
            )
        per_process = total // world_size
        micro, accumulation = config.micro_batch_size, config.gradient_accumulation_steps
        if micro is None and accumulation is None:
            micro = next(size for size in range(min(MICRO_BATCH_CAP, per_process), 0, -1) if per_process % size == 0)
        if micro is None:
            micro = per_process // accumulation if accumulation else per_process
        if accumulation is None:
            accumulation = per_process // micro
        if micro * accumulation * world_size != total:
            raise ConfigError(
                f"training.micro_batch_size {micro} × training.gradient_accumulation_steps {accumulation} × "
                f"world size {world_size} = {micro * accumulation * world_size}, "
                f"but training.global_batch_size is {total}"
            )
        return cls(micro, accumulation, world_size)

    def halved(self) -> BatchGeometry | None:
        """The same global batch in micro-batches half as large; None if they are single situations already."""
        if self.micro_batch_size == 1:
            return None
        micro = next(size for size in range(self.micro_batch_size // 2, 0, -1) if self.micro_batch_size % size == 0)
        return BatchGeometry(micro, self.gradient_accumulation_steps * self.micro_batch_size // micro, self.world_size)


def epoch_order(train: Indices, *, seed: int, epoch: int) -> Indices:
    """The training situations in the order of ``epoch`` (1-based)."""
    return np.random.default_rng([seed, epoch]).permutation(train)


def global_batches(order: Indices, global_batch_size: int) -> list[Indices]:
    """The batches of an epoch; the last may be smaller, none is dropped."""
    return [order[start : start + global_batch_size] for start in range(0, len(order), global_batch_size)]


def micro_batches(
    batch: Indices, geometry: BatchGeometry, rank: int, lengths: NDArray[np.int64] | None = None
) -> list[Indices]:
    """What process ``rank`` computes of a global batch: one micro-batch per accumulation step, possibly empty.

    Args:
        lengths: of every sequence there is, by position: a batch that is cut is sorted by them first, since each piece is
            padded to its longest. At an accumulation step all processes have pieces of about the same length.
    """
    pieces = geometry.gradient_accumulation_steps * geometry.world_size
    if lengths is not None and pieces > 1:
        batch = batch[np.argsort(lengths[batch], kind="stable")]
    cut = np.array_split(batch, pieces)
    return cut[rank :: geometry.world_size]
