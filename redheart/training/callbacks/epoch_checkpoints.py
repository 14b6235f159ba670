"""The checkpoint of each epoch: its weights by module, with its scores, written while the next epoch's steps run."""

from __future__ import annotations

from pathlib import Path

import msgspec

from redheart.checkpoint import Manifest, list_epochs
from redheart.checkpoint.epoch import EpochWriter
from redheart.training.callbacks.callback import Callback
from redheart.training.callbacks.run import EpochEnd, Run
from redheart.training.saving.snapshot import Snapshots
from redheart.training.step_result import Step


class EpochCheckpoints(Callback):
    """Stands before all callbacks that save what goes on from an epoch: its checkpoint has to be there first.

    Args:
        manifest: what a checkpoint of this run says of itself.

    Attributes:
        newest: the folder that was begun last by this run of the program; None before any.
    """

    def __init__(self, output: Path, manifest: Manifest, snapshots: Snapshots) -> None:
        self._output, self._manifest, self._snapshots = output, manifest, snapshots
        self.newest: Path | None = None

    def after_epoch(self, run: Run, end: EpochEnd) -> None:
        scored = {"choose": end.evaluation.scores()}
        manifest = msgspec.structs.replace(self._manifest, global_step=run.loop.global_step, metrics=scored)
        self.newest = self._snapshots.begin(
            run.loop, lambda forms: EpochWriter.of(self._output, end.epoch, forms, manifest)
        )

    def after_step(self, run: Run, step: Step) -> None:
        self._snapshots.look(run.engine)

    def at_end(self, run: Run) -> None:
        self._snapshots.wait(run.engine)

    def close(self, run: Run) -> None:
        # However the run ended: no thread may be left that writes where another run begins.
        self._snapshots.give_up(run.engine)


def last_good(output: Path) -> str:
    """The newest checkpoint of a whole model of a run, in words: no epoch whose loss on ``choose`` is not finite gets one."""
    epochs = [one for one in list_epochs(output) if one.is_whole]
    if not epochs:
        return "no epoch was finished, so there is no checkpoint of one yet"
    return f"the last good checkpoint is {epochs[-1].path}"
