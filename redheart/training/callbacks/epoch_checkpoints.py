"""The checkpoint of each epoch: its weights by module, with its scores."""

from __future__ import annotations

from pathlib import Path

import msgspec

from redheart.checkpoint import Manifest, list_epochs, save_epoch
from redheart.training.callbacks.callback import Callback
from redheart.training.callbacks.run import EpochEnd, Run


class EpochCheckpoints(Callback):
    """Written by the main process.

    Args:
        manifest: what a checkpoint of this run says of itself.

    Attributes:
        newest: the folder that was written last by this process; None before any.
    """

    def __init__(self, output: Path, manifest: Manifest) -> None:
        self._output, self._manifest = output, manifest
        self.newest: Path | None = None

    def after_epoch(self, run: Run, end: EpochEnd) -> None:
        if not run.engine.is_main:
            return
        scored = {"choose": end.evaluation.scores()}
        manifest = msgspec.structs.replace(self._manifest, global_step=run.loop.global_step, metrics=scored)
        self.newest = save_epoch(self._output, epoch=end.epoch, state=end.weights, manifest=manifest).path


def last_good(output: Path) -> str:
    """The newest checkpoint of a run, in words: no epoch whose loss on ``choose`` is not finite gets one."""
    epochs = list_epochs(output)
    if not epochs:
        return "no epoch was finished, so there is no checkpoint of one yet"
    return f"the last good checkpoint is {epochs[-1].path}"
