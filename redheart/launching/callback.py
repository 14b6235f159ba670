"""The place of a training that is told to the supervisor: at which step it stopped or failed, and with what micro-batch."""

from __future__ import annotations

import contextlib

from redheart.errors import StorageError
from redheart.launching.outcome import Place
from redheart.launching.rank import is_supervised, launch_folder
from redheart.training.callbacks.callback import Callback
from redheart.training.callbacks.run import Run


class PlaceForSupervisor(Callback):
    """Leaves it when a run stops or fails, where there is a supervisor: what it does next depends on it."""

    def at_stop(self, run: Run) -> None:
        self._leave(run)

    def at_failure(self, run: Run, error: BaseException) -> None:
        self._leave(run)

    def _leave(self, run: Run) -> None:
        if not is_supervised():
            return
        smaller = run.engine.geometry.halved()
        place = Place(
            step=run.loop.global_step,
            micro_batch_size=run.engine.geometry.micro_batch_size,
            smaller_micro_batch_size=None if smaller is None else smaller.micro_batch_size,
        )
        with contextlib.suppress(StorageError):
            launch_folder().leave_place(run.engine.rank, place)
