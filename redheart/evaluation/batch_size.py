"""The number of situations that are predicted at once: halved where memory ran out, for as long as it is kept."""

from __future__ import annotations

from collections.abc import Callable

from redheart.batches.out_of_memory import MemoryFailure, give_back_memory
from redheart.errors import OutOfMemory
from redheart.messages import warn

EVALUATION_BATCH = 64
#: Situations whose prediction alone takes less than to train on one, whose activations are all kept.
_FOR_ONE_TRAINED = 4
#: Told where memory ran out – what happened here, None if it was in another process –, of the size, and the next (None: none).
OnShrink = Callable[[MemoryFailure | None, int, int | None], object]


def evaluated_beside(micro_batch_size: int) -> int:
    """How many are predicted at once where that can't be made smaller on the way, and training takes so many."""
    return min(EVALUATION_BATCH, _FOR_ONE_TRAINED * micro_batch_size)


class BatchSize:
    """Shared by the evaluations of a run, so that what was shrunk stays so.

    Args:
        agree: whether a flag is set in any process, the same on all; collective where there are several.
        on_shrink: see ``OnShrink``; collective as ``agree``, and gives back the memory.
        on_end: told of what ends an evaluation that ``is_fixed``.
        is_fixed: others wait amid a forward pass, and can't be told: what runs out of memory fails.
    """

    def __init__(
        self,
        size: int = EVALUATION_BATCH,
        *,
        agree: Callable[[bool], bool] = lambda failed: failed,
        on_shrink: OnShrink = lambda failure, size, smaller: give_back_memory(),
        on_end: Callable[[MemoryFailure], object] = lambda failure: None,
        is_fixed: bool = False,
    ) -> None:
        self.size = size
        self.is_fixed = is_fixed
        self._agree = agree
        self._on_shrink, self._on_end = on_shrink, on_end

    def ends(self, failure: MemoryFailure) -> bool:
        """Whether that ends the evaluation, as the error that it was: it ``is_fixed``."""
        if self.is_fixed:
            self._on_end(failure)
        return self.is_fixed

    def came_through(self, failure: MemoryFailure | None) -> bool:
        """Whether all processes have predicted their batch; if not, it is to be predicted again in smaller ones.

        Raises:
            OutOfMemory: on every process: a single situation does not fit.
        """
        if self.is_fixed or not self._agree(failure is not None):
            return True
        size, smaller = self.size, self.size // 2 or None
        self._on_shrink(failure, size, smaller)
        if smaller is None:
            reason = f" ({failure.message})" if failure else " on another process"
            raise OutOfMemory(
                f"out of memory where a single situation is evaluated{reason}: end other programs, or free the device",
                memory=None if failure is None else failure.memory,
                phase="evaluation",
                is_least=True,
            )
        warn("training.smaller_evaluation", before=size, after=smaller)
        self.size = smaller
        return False
