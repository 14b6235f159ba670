"""The memory of a cut that worked after a larger one had failed: told to the user's cache once a step was taken with it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from redheart.errors import StorageError
from redheart.facts.launches import read_launches
from redheart.plan.remembered import Key, remember
from redheart.training.callbacks.callback import Callback
from redheart.training.callbacks.run import Run
from redheart.training.step_result import Step


class RememberedCut(Callback):
    """On the main process.

    Args:
        key: what the cut hangs on, of a run.
    """

    def __init__(self, output: Path, key: Callable[[Run], Key]) -> None:
        self._output, self._key = output, key
        #: The cut with which the run began, or what was remembered last.
        self._known: int | None = None

    def before_epoch(self, run: Run) -> None:
        if self._known is None:
            self._known = 0 if self._is_after_a_failed_start(run) else run.engine.geometry.micro_batch_size

    def after_step(self, run: Run, step: Step) -> None:
        now = run.engine.geometry.micro_batch_size
        if run.engine.is_main and now != self._known:
            self._known = now
            remember(self._key(run), now)

    def _is_after_a_failed_start(self, run: Run) -> bool:
        """Whether the supervisor started this group in smaller pieces because another had failed, as the last thing it did."""
        with contextlib.suppress(StorageError):
            events = read_launches(self._output).events
            last = events[-1] if events else None
            now = run.engine.geometry.micro_batch_size
            return last is not None and last.cause == "out_of_memory" and last.smaller_micro_batch_size == now
        return False
