"""The checkpoint of the start: the model before its first step, scored and kept as an epoch is.

Its skill would look like training's otherwise: what the linear paths begin with is solved for, not trained.
"""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from redheart.checkpoint import Manifest
from redheart.checkpoint.epoch import EpochWriter
from redheart.errors import Interrupted, TrainingError
from redheart.facts.scores import SplitScores
from redheart.messages import info
from redheart.training.callbacks.callback import Callback
from redheart.training.callbacks.run import Run
from redheart.training.init_from import has_start
from redheart.training.saving.resume_state import Kept
from redheart.training.saving.snapshot import Snapshots


class StartCheckpoint(Callback):
    """Of a run that starts with solved weights and trains them.

    Args:
        manifest: what a checkpoint of this run says of itself.

    Attributes:
        scores: on ``choose``, on every process; None where there is none.
        checkpoint: its folder relative to the output root.
    """

    def __init__(self, output: Path, manifest: Manifest, snapshots: Snapshots) -> None:
        self._output, self._manifest, self._snapshots = output, manifest, snapshots
        self.scores: SplitScores | None = None
        self.checkpoint: str | None = None

    def before_run(self, run: Run, kept: Kept | None) -> None:
        training = run.config.training
        if not has_start(training) or training.no_param_update or run.is_resumed:
            return
        try:
            evaluation = run.evaluate()
        except Interrupted as stopped:
            raise Interrupted("stopped before the first step; the same command starts again") from stopped
        if not math.isfinite(evaluation.loss):
            raise TrainingError(
                "the loss on the validation half 'choose' is not finite before the first step; train with "
                "training.linear_start=false, or look at the vectors and targets"
            )
        self.scores = evaluation.scores()
        manifest = msgspec.structs.replace(self._manifest, global_step=0, metrics={"choose": self.scores})
        path = self._snapshots.begin(
            run.loop, lambda forms: EpochWriter.of_start(self._output, forms, manifest), in_background=False
        )
        self._snapshots.wait(run.engine, is_told=False)
        self.checkpoint = str(path.relative_to(self._output))
        if run.engine.is_main:
            info(
                "training.from",
                choose=evaluation.loss,
                count=evaluation.count,
                skill=shown_skill(evaluation.mean_skill),
            )


def shown_skill(skill: float | None) -> str:
    """A mean skill in words: with its sign, a dash where nothing could be scored."""
    return "–" if skill is None else f"{skill:+.3f}"
