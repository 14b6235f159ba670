"""The progress bar: batches of the run, and of the last one loss, learning rate and situations per second."""

from __future__ import annotations

import time
from typing import Any

from tqdm import tqdm

from redheart.training.callbacks.callback import Callback
from redheart.training.callbacks.run import Run
from redheart.training.step_result import Step


class ProgressBar(Callback):
    """On the main process, where there is a terminal."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._since, self._situations = 0.0, 0

    def before_epoch(self, run: Run) -> None:
        self._since, self._situations = time.monotonic(), 0
        if self._bar is None:
            self._bar = tqdm(
                total=run.loop.total_steps,
                initial=run.loop.global_step,
                unit="batch",
                disable=None if run.engine.is_main else True,
                dynamic_ncols=True,
            )

    def after_step(self, run: Run, step: Step) -> None:
        assert self._bar is not None
        self._situations += step.situations
        rate = self._situations / (time.monotonic() - self._since)
        self._bar.set_description(f"epoch {step.epoch}/{run.epochs}")
        self._bar.set_postfix(loss=f"{step.loss:.4f}", lr=f"{step.learning_rate:.1e}", rate=f"{rate:.0f}/s")
        self._bar.update()

    def close(self, run: Run) -> None:
        if self._bar is not None:
            self._bar.close()
