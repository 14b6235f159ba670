"""The run's metrics: one line of ``metrics.jsonl`` for its start and for each epoch, and the epoch's log lines."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from redheart.health.update_monitor import UpdateReport
from redheart.messages import info
from redheart.paths import OutputPaths
from redheart.training.callbacks.callback import Callback
from redheart.training.callbacks.epoch_checkpoints import EpochCheckpoints
from redheart.training.callbacks.run import EpochEnd, Run
from redheart.training.callbacks.start import StartCheckpoint, shown_skill
from redheart.training.epoch_sums import EpochSums
from redheart.training.records import EpochRecord, RunRecord, append_record, drop_records_from
from redheart.training.saving.resume_state import Kept
from redheart.training.schedule import learning_rate_at
from redheart.training.step_result import Step


class Metrics(Callback):
    """Sums over the steps of an epoch, kept across a stop, and the lines that are made of them.

    Args:
        run_record: what the first line says of the run, its start aside.
        start, checkpoints: stand before it in the list; their folders are named in the lines.
    """

    name = "sums"

    def __init__(
        self, output: Path, run_record: RunRecord, start: StartCheckpoint, checkpoints: EpochCheckpoints
    ) -> None:
        self._output, self._run_record = output, run_record
        self._start, self._checkpoints = start, checkpoints
        self._sums = EpochSums()
        self._since = 0.0

    def add_check(self, report: UpdateReport) -> None:
        """Takes in what the update check saw."""
        self._sums.add_check(report)

    def before_run(self, run: Run, kept: Kept | None) -> None:
        if kept is not None:
            self._sums = kept.read(EpochSums)
        if not run.engine.is_main:
            return
        path = OutputPaths(self._output).metrics
        if run.is_resumed:
            drop_records_from(path, run.position.epoch)  # what was recorded behind the state, before a kill
        else:
            path.unlink(missing_ok=True)
            start = {"choose": self._start.scores, "checkpoint": self._start.checkpoint}
            append_record(path, msgspec.structs.replace(self._run_record, **start))

    def before_epoch(self, run: Run) -> None:
        self._since = time.monotonic()

    def after_step(self, run: Run, step: Step) -> None:
        self._sums.add(step)
        now = time.monotonic()
        self._sums.seconds += now - self._since
        self._since = now

    def after_epoch(self, run: Run, end: EpochEnd) -> None:
        if run.engine.is_main:
            self._tell(run, end)
        self._sums = EpochSums()

    def _tell(self, run: Run, end: EpochEnd) -> None:
        loop, sums, evaluation, saved = run.loop, self._sums, end.evaluation, self._checkpoints.newest
        assert saved is not None
        train, gradient = sums.train_record(), sums.gradient_record()
        record = EpochRecord(
            epoch=end.epoch,
            global_step=loop.global_step,
            learning_rate=learning_rate_at(loop.global_step - 1, loop.total_steps, loop.peak, loop.config),
            seconds=sums.seconds,
            updates=sums.updates,
            train=train,
            choose=evaluation.scores(),
            gradient=gradient,
            update=sums.update_record(),
            checkpoint=str(saved.relative_to(self._output)),
        )
        append_record(OutputPaths(self._output).metrics, record)
        info(
            "training.epoch",
            epoch=end.epoch,
            epochs=run.epochs,
            train=train.loss,
            choose=evaluation.loss,
            count=evaluation.count,
            norm="–" if gradient.total_norm_mean is None else f"{gradient.total_norm_mean:.3f}",
            skill=shown_skill(evaluation.mean_skill),
            rate=sums.situations / max(sums.seconds, 1e-9),
        )

    def state(self, run: Run) -> Kept | None:
        return Kept(self._sums)
