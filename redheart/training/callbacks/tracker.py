"""The tracker: TensorBoard's curves of every step and of every epoch's skills."""

from __future__ import annotations

from redheart.facts.scores import SplitScores
from redheart.training.callbacks.callback import Callback
from redheart.training.callbacks.run import EpochEnd, Run
from redheart.training.callbacks.start import StartCheckpoint
from redheart.training.saving.resume_state import Kept
from redheart.training.step_result import Step


class Tracker(Callback):
    """Tells the engine's trackers; they write on the main process.

    Args:
        start: has scored the model before its first step, if it was to.
    """

    def __init__(self, start: StartCheckpoint) -> None:
        self._start = start

    def before_run(self, run: Run, kept: Kept | None) -> None:
        run.engine.start_tracking("redheart", after_step=run.loop.global_step)
        if self._start.scores is not None:
            run.engine.track(_values(self._start.scores), step=0)

    def after_step(self, run: Run, step: Step) -> None:
        values = {"train/loss": step.loss, "train/learning_rate": step.learning_rate}
        if step.gradient_norm is not None:
            values["train/gradient_norm"] = step.gradient_norm
        run.engine.track(values, step=step.global_step)

    def after_epoch(self, run: Run, end: EpochEnd) -> None:
        run.engine.track(_values(end.evaluation.scores()), step=run.loop.global_step)

    def close(self, run: Run) -> None:
        run.engine.finish_tracking()


def _values(scored: SplitScores) -> dict[str, float]:
    """Of an evaluation: the loss, and the skill of each task that has one."""
    told = {"choose/loss": scored.loss} | {f"choose/{name}": task.skill for name, task in scored.tasks.items()}
    return {name: value for name, value in told.items() if value is not None}
