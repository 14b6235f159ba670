"""The update check: every so many batches and at an epoch's end, whether every module has changed."""

from __future__ import annotations

from collections.abc import Callable

from redheart.health.data_coverage import DataCoverage
from redheart.health.untrainable import find_untrainable
from redheart.health.update_check import announce_updates, is_due
from redheart.health.update_monitor import UpdateMonitor, UpdateReport
from redheart.health.weight_changes import ChangesState
from redheart.training.callbacks.callback import Callback
from redheart.training.callbacks.run import Run
from redheart.training.saving.resume_state import Kept
from redheart.training.step_result import Step


class UpdateCheck(Callback):
    """Checks every ``training.monitor_every`` batches, and says what changed.

    Args:
        on_check: told of every check, before anything is said of it.
    """

    name = "monitor"

    def __init__(self, on_check: Callable[[UpdateReport], None]) -> None:
        self._on_check = on_check
        self._monitor: UpdateMonitor | None = None
        self._untrainable: frozenset[str] = frozenset()

    def before_run(self, run: Run, kept: Kept | None) -> None:
        self._monitor = UpdateMonitor(run.engine)
        if kept is not None and kept.tensors:
            self._monitor.restore(dict(kept.tensors), kept.read(ChangesState))
        table = run.loop.table
        self._untrainable = find_untrainable(run.engine, table, DataCoverage.of(table, run.loop.train)).whole()

    def after_step(self, run: Run, step: Step) -> None:
        assert self._monitor is not None
        training = run.config.training
        if step.updated:
            self._monitor.stepped()
        done = step.batch_index + 1
        if done % training.monitor_every == 0 or done == step.batches:
            report = self._monitor.check()
            self._on_check(report)
            is_told = is_due(training.monitor_every, step.batches, step.epoch, done)
            announce_updates(report, training, self._untrainable, by_module=is_told)

    def state(self, run: Run) -> Kept | None:
        assert self._monitor is not None
        samples, counters = self._monitor.to_state()
        # Between epochs it has just checked: what it compared with is the weights themselves.
        return Kept(counters, samples if run.position.batches_done else {})
