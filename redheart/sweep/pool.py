"""The local launcher: one persistent worker process a slot, for all stages, and a progress bar over their results.

A slot is a GPU, or on CPU a share of the cores. Workers live through the whole sweep because importing torch and loading
the data takes longer than a small trial. The pool decides nothing: it watches the folder as anyone could, and so can be
killed and started again at any time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
from tqdm import tqdm

import redheart
from redheart.config import Config
from redheart.errors import Interrupted, TrainingError
from redheart.messages import warn
from redheart.sweep.claims import Claims
from redheart.sweep.identity import Sweep
from redheart.sweep.keys import key_of
from redheart.sweep.planner import mean_losses
from redheart.sweep.trials import TrialFolder, observation, trial_name
from redheart.sweep.worker import Job

LOGS_FOLDER = "logs"
_POLL_EVERY = 0.2  # seconds
_GRACE = 30.0  # seconds that a worker has to end its step after a signal before it is killed; nothing is lost by that
_TAIL_LINES = 15
_MAX_FAILURES = 2  # of one point: the first may have been the machine's fault, the second is the point's
#: A worker is a single-device job, even where the parent was started by a distributed launcher.
_DISTRIBUTED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Slots:
    """How many workers, and what each gets in its environment."""

    environments: tuple[Mapping[str, str], ...]
    where: str


def visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """CUDA devices by the names a child can be given, without importing torch."""
    if "CUDA_VISIBLE_DEVICES" in environment:
        return [name for name in environment["CUDA_VISIBLE_DEVICES"].split(",") if name.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=60)
    return [
        str(index) for index, _ in enumerate(line for line in listed.stdout.splitlines() if line.startswith("GPU "))
    ]


def plan_slots(config: Config, environment: Mapping[str, str]) -> Slots:
    """One slot a GPU; on CPU one a core up to the points of a stage, the cores shared out among them."""
    gpus = visible_gpus(environment)
    if gpus:
        count = min(config.sweep.workers or len(gpus), config.sweep.points)
        return Slots(
            tuple({"CUDA_VISIBLE_DEVICES": gpus[index % len(gpus)]} for index in range(count)), f"{len(gpus)} GPU"
        )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = min(config.sweep.workers or cores, config.sweep.points)
    threads = str(max(1, cores // count))
    return Slots(({"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},) * count, f"CPU, {cores} cores")


@contextlib.contextmanager
def _signals_noted() -> Iterator[Callable[[], bool]]:
    """SIGINT and SIGTERM set a flag, and go on to a handler that was there before (the default ones excepted)."""
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
    for wanted in (signal.SIGINT, signal.SIGTERM):
        before[wanted] = signal.signal(wanted, on_signal)
    try:
        yield lambda: asked
    finally:
        for wanted in (signal.SIGINT, signal.SIGTERM):
            signal.signal(wanted, before[wanted])


class _WorkerProcess:
    """A worker, its log and where this run's part of that log begins."""

    def __init__(self, number: int, job: Job, environment: Mapping[str, str], log: Path) -> None:
        self.number = number
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as target:
            self._start = target.tell()
            # A session of its own: Ctrl-C reaches the parent alone, which then stops the workers in order.
            self.process = subprocess.Popen(
                [sys.executable, "-m", "redheart.sweep.worker"],
                stdin=subprocess.PIPE,
                stdout=target,
                stderr=target,
                env=dict(environment),
                start_new_session=True,
            )
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died at once; its log says why
            self.process.stdin.write(msgspec.json.encode(asdict(job)))
            self.process.stdin.close()

    def tail(self) -> str:
        with open(self.log, "rb") as source:
            source.seek(self._start)
            lines = source.read().decode(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-_TAIL_LINES:]) or "    (it wrote nothing)"

    def last_words(self) -> str:
        return f"worker {self.number} ended with {self.how_it_ended()}; its log {self.log} ends:\n{self.tail()}"

    def how_it_ended(self) -> str:
        code = self.process.returncode
        if code >= 0:
            return f"exit {code}"
        hint = ": out of memory?" if -code == signal.SIGKILL else ""
        return f"signal {signal.Signals(-code).name}{hint}"


class Pool:
    """Runs a sweep's open trials on this machine.

    Args:
        on_change: called whenever new results are there, from the parent, between two looks.
        environment: what the workers inherit; the command line hands in ``os.environ``.
    """

    def __init__(self, config: Config, sweep: Sweep, job: Job, slots: Slots, environment: Mapping[str, str]) -> None:
        self.config = config
        self.sweep = sweep
        self.job = replace(job, parent=os.getpid())
        self.slots = slots
        self.trials = TrialFolder(sweep.results)
        package = str(Path(redheart.__file__).parent.parent)
        base = {name: value for name, value in environment.items() if name not in _DISTRIBUTED}
        base["PYTHONPATH"] = os.pathsep.join(filter(None, (package, base.get("PYTHONPATH"))))
        self._base = base

    def run(self, should_stop: Callable[[], bool], on_change: Callable[[], None]) -> None:
        """Returns when every trial is there.

        Raises:
            Interrupted: a signal or ``should_stop``; the workers have ended and finished trials are stored.
            TrainingError: no worker is left, or one point failed twice, with the end of the worker's log.
        """
        with _signals_noted() as signalled:
            workers: list[_WorkerProcess] = []
            try:
                for number, extra in enumerate(self.slots.environments):
                    log = self.sweep.results / LOGS_FOLDER / f"worker_{number}.log"
                    workers.append(_WorkerProcess(number, self.job, {**self._base, **extra}, log))
                self._watch(workers, lambda: signalled() or should_stop(), on_change)
            finally:
                _stop(workers)

    def _watch(self, workers: list[_WorkerProcess], stopped: Callable[[], bool], on_change: Callable[[], None]) -> None:
        names = [name for stage in range(self.sweep.stages) for name in self.sweep.trial_names(stage)]
        failures: dict[str, int] = {}
        done = -1
        bar: tqdm[Any] = tqdm(total=len(names), unit="trial", desc="LR sweep", disable=None)
        with bar:
            while True:
                finished = [name for name in names if self.trials.exists(name)]
                if len(finished) != done:
                    done = len(finished)
                    self._show(bar, finished)
                on_change()
                if done == len(names):
                    return
                if stopped():
                    raise Interrupted(
                        f"the sweep was stopped after {done} of {len(names)} trials; the same command goes on from there"
                    )
                self._look_after(workers, failures)
                time.sleep(_POLL_EVERY)

    def _show(self, bar: tqdm[Any], finished: list[str]) -> None:
        bar.n = len(finished)
        losses = mean_losses([observation(self.trials.read(name)) for name in finished])
        if losses:
            best = min(losses, key=lambda learning_rate: losses[learning_rate])
            bar.set_postfix_str(f"best LR {key_of(best)}, val_loss {losses[best]:.4f}", refresh=False)
        bar.refresh()

    def _look_after(self, workers: list[_WorkerProcess], failures: dict[str, int]) -> None:
        # Code 0: it saw the sweep complete an instant before this process did.
        dead = [worker for worker in workers if worker.process.poll() is not None]
        died = [worker for worker in dead if worker.process.returncode != 0]
        for worker in dead:
            workers.remove(worker)
        for worker in died:
            for point in self._unfinished_points_of(worker.process.pid):
                failures[point] = failures.get(point, 0) + 1
                if failures[point] >= _MAX_FAILURES:
                    raise TrainingError(f"the sweep's {point} failed {failures[point]} times; {worker.last_words()}")
        if died and not workers:
            raise TrainingError(f"no sweep worker is left: {died[-1].last_words()}")
        for worker in died:
            warn(
                "sweep.worker_died", number=worker.number, how=worker.how_it_ended(), log=worker.log, tail=worker.tail()
            )

    def _unfinished_points_of(self, pid: int) -> list[str]:
        """What a dead worker was at: it had claimed it, and nobody has finished it since."""
        unfinished = []
        for point in Claims(self.sweep.claims_folder).of_process(pid):
            stage, _, number = point.removeprefix("stage").partition("_point")
            if not self.trials.exists(trial_name(self.sweep.name, int(stage), int(number))):
                unfinished.append(point)
        return unfinished


def _stop(workers: list[_WorkerProcess]) -> None:
    """Asks all to stop, waits, and kills what does not. Returns when none is left."""
    for worker in workers:
        if worker.process.poll() is None:
            worker.process.terminate()
    end = time.monotonic() + _GRACE
    for worker in workers:
        try:
            worker.process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
