"""Global batches made ready by a thread before they are needed: the micro-batches of this process and what their loss is divided by.

Gathering a batch copies a few megabytes, which the processor does while a step is computed. The thread makes them in order, a few
ahead, and touches nothing but the table; what goes wrong in it is raised where the batch is taken, as it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from redheart.batches.order import BatchGeometry, Indices, micro_batches
from redheart.batches.out_of_memory import is_out_of_memory
from redheart.batches.table import SituationTable
from redheart.model.batch import Batch
from redheart.model.losses import valid_counts

#: Batches that lie ready: the one after the next too, should one of them have taken longer.
AHEAD = 2


@dataclass(frozen=True)
class PreparedBatch:
    """What one process computes of a global batch.

    Attributes:
        indices: positions of all its situations in the table.
        geometry: how it was cut.
        pieces: the micro-batches of this process, in pinned memory where it goes to a device.
        counts: valid counts of the whole batch by target, ().
    """

    indices: Indices
    geometry: BatchGeometry
    pieces: tuple[Batch, ...]
    counts: dict[str, Tensor]


def prepare_batch(
    table: SituationTable, indices: Indices, geometry: BatchGeometry, rank: int, *, pins: bool = False
) -> PreparedBatch:
    """Gathers what process ``rank`` computes of a batch.

    Args:
        pins: put it where a device can copy it from while the processor goes on.
    """
    cut = micro_batches(indices, geometry, rank, table.dataset.counts)
    pieces = (table.batch(one) for one in cut)
    empty = torch.empty(0)
    counts = valid_counts(Batch([], empty, empty, empty, empty, {}, table.target_masks(indices)))
    return PreparedBatch(indices, geometry, tuple(one.pinned() if pins else one for one in pieces), counts)


def prepared_batches(
    table: SituationTable, batches: Sequence[Indices], geometry: BatchGeometry, rank: int, *, pins: bool = False
) -> Generator[PreparedBatch | None, None, None]:
    """All of ``batches``, in order; the thread has ended when this is closed, exhausted or has raised.

    One for which memory ran out is None: it is for the step, which may take less at once, to gather it.

    Raises:
        StorageError: vectors can't be read; and whatever else gathering a batch raises.
    """
    waiting: deque[Future[PreparedBatch]] = deque()
    left = iter(batches)
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
    try:
        for indices in left:
            waiting.append(executor.submit(prepare_batch, table, indices, geometry, rank, pins=pins))
            if len(waiting) > AHEAD:
                yield _gathered(waiting.popleft())
        while waiting:
            yield _gathered(waiting.popleft())
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _gathered(one: Future[PreparedBatch]) -> PreparedBatch | None:
    try:
        return one.result()
    except (RuntimeError, MemoryError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        return None
