"""The out-of-memory statistics of a run, written when it is over."""

from __future__ import annotations

from pathlib import Path

from redheart.messages import info
from redheart.training.callbacks.callback import Callback
from redheart.training.callbacks.run import Run
from redheart.training.saving.resume_state import Kept


class OomStatistics(Callback):
    """Written at the end by the main process; of a run that stops or fails, where something happened, by whom it did to."""

    def __init__(self, output: Path) -> None:
        self._output = output

    def before_run(self, run: Run, kept: Kept | None) -> None:
        run.loop.oom.read(self._output)  # another run's was moved away; this one may begin again without a state

    def at_stop(self, run: Run) -> None:
        if run.loop.oom.has_new:
            self._write(run)

    def at_failure(self, run: Run, error: BaseException) -> None:
        if run.loop.oom.has_new:
            self._write(run)

    def at_end(self, run: Run) -> None:
        if run.engine.is_main:
            self._write(run)

    def _write(self, run: Run) -> None:
        oom, micro_batch_size = run.loop.oom, run.engine.geometry.micro_batch_size
        path = oom.write(self._output, device=str(run.engine.device), micro_batch_size=micro_batch_size)
        info("training.oom_stats", path=path, count=len(oom.events))
