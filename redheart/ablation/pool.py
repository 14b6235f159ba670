"""The local pool of an ablation: one process per GPU or share of the cores; with a single slot, this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from redheart.ablation.run import Ablator
from redheart.ablation.worker import Job, Outcome, Run
from redheart.errors import Interrupted, TrainingError
from redheart.worker_pool import WorkerPool, WorkerProcess

LOGS_FOLDER = "logs"
_WORKER = "redheart.ablation.worker"
_POLL_EVERY = 0.2  # seconds between two checks whether a stop was asked for


def run_here(
    ablator: Ablator, runs: Sequence[Run], *, should_stop: Callable[[], bool], on_done: Callable[[Run], None]
) -> None:
    """One after the other in this process.

    Raises:
        Interrupted: see ``Ablator.run``.
        TrainingError: see there.
    """
    for run in runs:
        ablator.run(run.variant, run.seed, should_stop=should_stop)
        on_done(run)


def run_in_processes(
    job: Job,
    runs: Sequence[Run],
    slots: Sequence[Mapping[str, str]],
    environment: Mapping[str, str],
    *,
    should_stop: Callable[[], bool],
    on_done: Callable[[Run], None],
) -> None:
    """As many at a time as there are ``slots``, what each worker gets on top of ``environment``, which all inherit.

    Raises:
        Interrupted: asked to stop; runs under way are dropped.
        TrainingError: a run diverged, or a worker died.
        StorageError: a run's file can't be written.
    """
    waiting = deque(runs)
    under_way: dict[WorkerProcess, Run] = {}

    def hand_out(worker: WorkerProcess) -> None:
        if waiting:
            under_way[worker] = waiting.popleft()
            worker.send(msgspec.json.encode(under_way[worker]))

    with WorkerPool(_WORKER, job, slots, environment, Path(job.folder).parent / LOGS_FOLDER) as pool:
        for worker in pool.workers:
            hand_out(worker)
        while under_way:
            for worker, answer in pool.answers(_POLL_EVERY):
                error = msgspec.json.decode(answer, type=Outcome).to_error()
                if error is not None:
                    raise error
                on_done(under_way.pop(worker))
                hand_out(worker)
            if should_stop():
                raise Interrupted("stopped; the same command goes on with the runs that are missing")
            for worker in pool.take_dead():
                raise TrainingError(_death_of(worker))


def _death_of(worker: WorkerProcess) -> str:
    what = "a worker process of the ablation ended"
    if worker.was_killed():
        what += " without a word (out of memory?)"
    return (
        f"{what}; finished runs are kept and the same command goes on with the others: ablation.workers=1 runs one at a "
        f"time. {worker.last_words()}"
    )
