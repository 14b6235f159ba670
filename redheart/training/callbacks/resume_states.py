"""The resume states: written every so many minutes, at a stop and at the end, with what every callback keeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from redheart.checkpoint import Manifest
from redheart.errors import StorageError
from redheart.messages import info, warn
from redheart.training.callbacks.callback import Callback
from redheart.training.callbacks.run import EpochEnd, Run
from redheart.training.saving.resume_state import Kept, Position, save_progress
from redheart.training.step_result import Step


class ResumeStates(Callback):
    """Saves collectively; a place that is saved already is not saved again. Stands after all callbacks that keep something.

    Args:
        identity: the run's, see ``RunFolder.run``.
        manifest: what a checkpoint that is made of a state would say of itself.
        before_save: collective; whatever has to be on disk before a state that goes on from it.
        on_saved: is told, on the main process, how many seconds a save took.
        clock: in seconds.
    """

    def __init__(
        self,
        output: Path,
        identity: str,
        manifest: Manifest,
        *,
        before_save: Callable[[], None] = lambda: None,
        on_saved: Callable[[float], None] = lambda seconds: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._output, self._identity, self._manifest = output, identity, manifest
        self._before_save, self._on_saved, self._clock = before_save, on_saved, clock
        self._saved_at: Position | None = None
        self._since = clock()

    def before_run(self, run: Run, kept: Kept | None) -> None:
        self._since = self._clock()

    def after_step(self, run: Run, step: Step) -> None:
        # An epoch's last step is followed by its evaluation and its end, where the state is whole with both.
        every = run.config.training.save_every_minutes
        if every and step.batch_index + 1 < step.batches and self._is_due(run, every):
            info("training.state_saved", seconds=self._save(run), epoch=step.epoch, batch=step.batch_index + 1)

    def after_epoch(self, run: Run, end: EpochEnd) -> None:
        if end.epoch == run.epochs:
            self._save_last(run)
        elif self._is_due(run, run.config.training.save_every_minutes):
            self._save(run)

    def _save_last(self, run: Run) -> None:
        """All epochs are trained and kept: a disk that has no room for one state more does not take that away."""
        self._before_save()  # of the last epoch's checkpoint it does
        try:
            self._save(run)
        except StorageError as error:  # raised on every process alike
            if run.engine.is_main:
                warn("training.last_state_not_saved", reason=error)

    def at_stop(self, run: Run) -> None:
        if self._saved_at != run.position:
            self._save(run)
        else:
            self._before_save()
        info("training.interrupted", epoch=run.position.epoch, batch=run.position.batches_done)

    def _is_due(self, run: Run, every: float) -> bool:
        """By the clock of the main process: agreed by all. Collective."""
        return run.engine.any_rank(run.engine.is_main and self._clock() - self._since >= 60.0 * every)

    def _save(self, run: Run) -> float:
        """How many seconds it took."""
        began = self._clock()
        self._before_save()
        save_progress(self._output, self._identity, self._manifest, run.loop, run.position, run.states())
        self._saved_at, self._since = run.position, self._clock()
        if run.engine.is_main:
            self._on_saved(self._since - began)
        return self._since - began
