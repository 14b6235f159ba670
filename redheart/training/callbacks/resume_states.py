"""The resume states: written after every epoch and at a stop, with what every callback keeps."""

from __future__ import annotations

from pathlib import Path

from redheart.checkpoint import Manifest
from redheart.messages import info
from redheart.training.callbacks.callback import Callback
from redheart.training.callbacks.run import EpochEnd, Run
from redheart.training.resume_state import Position, save_progress


class ResumeStates(Callback):
    """Saves collectively; a place that is saved already is not saved again. Stands after all callbacks that keep something.

    Args:
        identity: the run's, see ``RunFolder.run``.
        manifest: what a checkpoint that is made of a state would say of itself.
    """

    def __init__(self, output: Path, identity: str, manifest: Manifest) -> None:
        self._output, self._identity, self._manifest = output, identity, manifest
        self._saved_at: Position | None = None

    def after_epoch(self, run: Run, end: EpochEnd) -> None:
        self._save(run)

    def at_stop(self, run: Run) -> None:
        if self._saved_at != run.position:
            self._save(run)
        info("training.interrupted", epoch=run.position.epoch, batch=run.position.batches_done)

    def _save(self, run: Run) -> None:
        save_progress(self._output, self._identity, self._manifest, run.loop, run.position, run.states())
        self._saved_at = run.position
