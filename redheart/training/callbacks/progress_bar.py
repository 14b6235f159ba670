"""The progress bar: batches of the run, and of the last one loss, learning rate and situations per second."""

from __future__ import annotations

import time

from redheart.messages import text
from redheart.progress import Progress
from redheart.training.callbacks.callback import Callback
from redheart.training.callbacks.run import Run
from redheart.training.step_result import Step


class ProgressBar(Callback):
    """On the main process: a bar, or lines where there is no terminal."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._since, self._situations = 0.0, 0

    def before_epoch(self, run: Run) -> None:
        self._since, self._situations = time.monotonic(), 0
        if self._progress is None:
            self._progress = Progress(
                text("progress.training"),
                run.loop.total_steps,
                done=run.loop.global_step,
                is_shown=run.engine.is_main,
                unit="batch",
            ).__enter__()

    def after_step(self, run: Run, step: Step) -> None:
        assert self._progress is not None
        self._situations += step.situations
        rate = self._situations / (time.monotonic() - self._since)
        self._progress.note(
            f"epoch {step.epoch}/{run.epochs}, loss={step.loss:.4f}, lr={step.learning_rate:.1e}, rate={rate:.0f}/s"
        )
        self._progress.update()

    def close(self, run: Run) -> None:
        if self._progress is not None:
            self._progress.__exit__(None, None, None)
            self._progress = None
