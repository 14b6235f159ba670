"""The place of a training that is told to the supervisor: at which step it stopped or failed, and with what micro-batch."""

from __future__ import annotations

import contextlib

from redheart.batches.out_of_memory import is_out_of_memory
from redheart.errors import OutOfMemory, StorageError
from redheart.launching.outcome import Place
from redheart.launching.rank import is_supervised, launch_folder
from redheart.training.callbacks.callback import Callback
from redheart.training.callbacks.run import Run


class PlaceForSupervisor(Callback):
    """Leaves it when a run stops or fails, where there is a supervisor: what it does next depends on it.

    Attributes:
        left: it; None: the run has not stopped or failed, or had not begun.
    """

    def __init__(self) -> None:
        self.left: Place | None = None

    def at_stop(self, run: Run) -> None:
        self._leave(run)

    def at_failure(self, run: Run, error: BaseException) -> None:
        self._leave(run, error)

    def _leave(self, run: Run, error: BaseException | None = None) -> None:
        is_least = isinstance(error, OutOfMemory) and error.is_least
        smaller = None if is_least else run.engine.geometry.halved()
        place = Place(
            step=run.loop.global_step,
            micro_batch_size=run.engine.geometry.micro_batch_size,
            smaller_micro_batch_size=None if smaller is None else smaller.micro_batch_size,
            phase=_phase_of(error, run),
        )
        self.left = place
        if not is_supervised():
            return
        with contextlib.suppress(StorageError):
            launch_folder().leave_place(run.engine.rank, place)


def _phase_of(error: BaseException | None, run: Run) -> str | None:
    """Of the training, where that is what memory ran out in; an evaluation that could not be done again was noted before."""
    if isinstance(error, OutOfMemory):
        return error.phase
    events = run.loop.oom.events
    return events[-1].phase if error is not None and is_out_of_memory(error) and events else None
