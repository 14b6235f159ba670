"""The progress bar: batches of the run, of the last one loss and learning rate, situations per second, and memory in use."""

from __future__ import annotations

import time

from redheart.batches.out_of_memory import MemoryInUse
from redheart.machine import GIB
from redheart.messages import text
from redheart.progress import Progress
from redheart.training.callbacks.callback import Callback
from redheart.training.callbacks.run import Run
from redheart.training.step_result import Step

_LOOKS_EVERY = 1.0


class ProgressBar(Callback):
    """On the main process: a bar, or lines where there is no terminal."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._since, self._situations = 0.0, 0
        self._memory, self._looked = "", -_LOOKS_EVERY

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
            f", memory={self._memory_in_use(time.monotonic())}"
        )
        self._progress.update()

    def _memory_in_use(self, now: float) -> str:
        """Allocated on the device, or resident where there is none; looked at once a second."""
        if now - self._looked >= _LOOKS_EVERY:
            in_use = MemoryInUse.now()
            self._memory = f"{(in_use.host if in_use.device is None else in_use.device) / GIB:.1f}GiB"
            self._looked = now
        return self._memory

    def close(self, run: Run) -> None:
        if self._progress is not None:
            self._progress.__exit__(None, None, None)
            self._progress = None
