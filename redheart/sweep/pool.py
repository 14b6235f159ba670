"""The local launcher: one worker process per slot, for all stages, and their progress, with a line for each trial.

It decides nothing: it watches the folder as anyone could, and so can be killed and started again at any time.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any

from redheart.errors import Interrupted, TrainingError
from redheart.messages import info, text, warn
from redheart.progress import Progress, duration
from redheart.stop_signals import stop_signals
from redheart.sweep.claims import Claims
from redheart.sweep.identity import Sweep
from redheart.sweep.learning_rate_keys import key_of
from redheart.sweep.seed_effects import mean_losses
from redheart.sweep.trials import TrialFolder, in_words, trial_name
from redheart.sweep.worker import Job
from redheart.worker_pool import Slots, WorkerPool, WorkerProcess

LOGS_FOLDER = "logs"
_WORKER = "redheart.sweep.worker"
_POLL_EVERY = 0.2  # seconds
_MAX_FAILURES = 2  # of one point: the first may have been the machine's fault, the second is the point's


@contextlib.contextmanager
def _signals_noted() -> Iterator[Callable[[], bool]]:
    """Each of ``stop_signals`` sets a flag, and go on to a handler that was there before (the default ones excepted)."""
    asked = False
    before: dict[int, Any] = {}

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        previous = before[number]
        if callable(previous) and previous is not signal.default_int_handler:
            previous(number, frame)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: asked
        return
    for wanted in stop_signals():
        before[wanted] = signal.signal(wanted, on_signal)
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Pool:
    """Runs a sweep's open trials on this machine.

    Args:
        environment: what the workers inherit; see ``own_environment``.
    """

    def __init__(self, sweep: Sweep, job: Job, slots: Slots, environment: Mapping[str, str]) -> None:
        self.sweep = sweep
        self.trials = TrialFolder(sweep.results)
        self._workers = WorkerPool(_WORKER, job, slots.environments, environment, sweep.results / LOGS_FOLDER)

    def run(self, should_stop: Callable[[], bool], on_change: Callable[[], None]) -> None:
        """Returns when every trial is there.

        Args:
            on_change: called whenever new results may be there, from the parent, between two polls.

        Raises:
            Interrupted: a signal or ``should_stop``; the workers have ended and finished trials are stored.
            TrainingError: no worker is left, or one point failed twice, with the end of the worker's log.
        """
        with _signals_noted() as signalled, self._workers:
            self._watch(lambda: signalled() or should_stop(), on_change)

    def _watch(self, stopped: Callable[[], bool], on_change: Callable[[], None]) -> None:
        names = [name for stage in range(self.sweep.stages) for name in self.sweep.trial_names(stage)]
        failures: Counter[str] = Counter()
        done = -1
        before = [name for name in names if self.trials.exists(name)]
        said = set(before)
        with Progress(text("progress.sweep"), len(names), done=len(before), unit="trial") as progress:
            while True:
                finished = [name for name in names if self.trials.exists(name)]
                if len(finished) != done:
                    done = len(finished)
                    self._show(progress, finished, said)
                on_change()
                if done == len(names):
                    return
                if stopped():
                    raise Interrupted(
                        f"the sweep was stopped after {done} of {len(names)} trials; the same command goes on from there"
                    )
                self._look_after(failures)
                time.sleep(_POLL_EVERY)

    def _show(self, progress: Progress, finished: list[str], said: set[str]) -> None:
        """A line for each trial that was not ``said``, which then it is."""
        trials = {name: self.trials.read(name) for name in finished}
        losses = mean_losses([trial.observation for trial in trials.values()])
        if losses:
            best = min(losses, key=lambda learning_rate: losses[learning_rate])
            progress.note(f"best LR {key_of(best)}, val_loss {losses[best]:.4f}")
        progress.update(len(finished) - progress.done)
        left = progress.time_left()
        for name in (name for name in finished if name not in said):
            said.add(name)
            info(
                "sweep.trial",
                done=len(said),
                total=self.sweep.total,
                trial=in_words(trials[name]),
                left="–" if left is None else duration(left),
            )

    def _look_after(self, failures: Counter[str]) -> None:
        # Code 0: it saw the sweep complete an instant before this process did.
        died = [worker for worker in self._workers.take_dead() if worker.process.returncode != 0]
        for worker in died:
            self._count_failures(worker, failures)
        if died and not self._workers.workers:
            raise TrainingError(f"no sweep worker is left: {died[-1].last_words()}")
        for worker in died:
            warn(
                "sweep.worker_died", number=worker.number, how=worker.how_it_ended(), log=worker.log, tail=worker.tail()
            )

    def _count_failures(self, worker: WorkerProcess, failures: Counter[str]) -> None:
        for point in self._unfinished_points_of(worker.process.pid):
            failures[point] += 1
            if failures[point] >= _MAX_FAILURES:
                raise TrainingError(f"the sweep's {point} failed {failures[point]} times; {worker.last_words()}")

    def _unfinished_points_of(self, pid: int) -> list[str]:
        """What a dead worker was at: it had claimed it, and nobody has finished it since."""
        unfinished = []
        for point in Claims(self.sweep.claims_folder).of_process(pid):
            stage, _, number = point.removeprefix("stage").partition("_point")
            if not self.trials.exists(trial_name(self.sweep.name, int(stage), int(number))):
                unfinished.append(point)
        return unfinished
