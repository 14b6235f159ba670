"""Several runs at a time: one process a GPU, or on CPU a share of the cores each; with a single slot, this process.

A worker loads the data once and keeps it. It writes the files of its runs itself, so nothing finished is lost with whoever
watches; and it ends with its parent.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from redheart.config import Config
from redheart.errors import Interrupted, TrainingError
from redheart.messages import language, set_language, set_up_logging

if TYPE_CHECKING:
    from redheart.ablation.run import Ablator

_LOOK_EVERY = 0.2  # seconds between two looks at the request to stop
Run = tuple[str, int]


@dataclass(frozen=True)
class Job:
    """What a worker needs to know, in a form that travels to it."""

    config: dict[str, Any]
    asked: dict[str, Any]
    dataset: str
    folder: str
    learning_rate: float
    language: str


def run_here(
    ablator: Ablator, runs: Sequence[Run], *, should_stop: Callable[[], bool], on_done: Callable[[Run], None]
) -> None:
    """One after the other in this process.

    Raises:
        Interrupted: see ``Ablator.run``.
        TrainingError: see there.
    """
    for variant, seed in runs:
        ablator.run(variant, seed, should_stop=should_stop)
        on_done((variant, seed))


def run_in_processes(
    job: Job,
    runs: Sequence[Run],
    environments: Sequence[Mapping[str, str]],
    *,
    should_stop: Callable[[], bool],
    on_done: Callable[[Run], None],
) -> None:
    """As many at a time as there are ``environments``, each of which one worker gets on top of this process's own.

    Raises:
        Interrupted: asked to stop; runs under way are dropped.
        TrainingError: a run diverged, or a worker died.
    """
    # spawn: a fork of a process that has started threads or CUDA is not to be trusted.
    context = multiprocessing.get_context("spawn")
    stop, slots = context.Event(), context.SimpleQueue()
    for environment in environments:
        slots.put(dict(environment))
    pool = ProcessPoolExecutor(len(environments), context, _start_worker, (job, slots, stop))
    try:
        waiting: dict[Future[None], Run] = {pool.submit(_run, variant, seed): (variant, seed) for variant, seed in runs}
        while waiting:
            done, _ = wait(waiting, timeout=_LOOK_EVERY, return_when=FIRST_COMPLETED)
            for future in done:
                run = waiting.pop(future)
                future.result()
                on_done(run)
            if should_stop():
                raise Interrupted("stopped; the same command goes on with the runs that are missing")
    except BrokenProcessPool as error:
        raise TrainingError(
            "a worker process of the ablation ended without a word (out of memory?); finished runs are kept and the same "
            "command goes on with the others: ablation.workers=1 runs one at a time"
        ) from error
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


#: In a worker: what runs there, and whether it is to stop.
_worker: tuple[Ablator, Callable[[], bool]] | None = None


def _start_worker(job: Job, slots: Any, stop: Any) -> None:
    global _worker
    os.environ.update(slots.get())  # before torch is loaded: which GPU, how many threads
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the parent is told, and tells its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    set_language(job.language)  # type: ignore[arg-type]
    set_up_logging()
    from redheart.ablation.run import Ablator

    config, asked = msgspec.convert(job.config, Config), msgspec.convert(job.asked, Config)
    _worker = (Ablator(config, Path(job.dataset), Path(job.folder), job.learning_rate, asked=asked), stop.is_set)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _run(variant: str, seed: int) -> None:
    assert _worker is not None
    ablator, should_stop = _worker
    ablator.run(variant, seed, should_stop=should_stop)


def job_of(config: Config, asked: Config, dataset: Path, folder: Path, learning_rate: float) -> Job:
    settings, meant = msgspec.to_builtins(config), msgspec.to_builtins(asked)
    return Job(settings, meant, str(dataset.absolute()), str(folder.absolute()), learning_rate, language())


def slots_of(config: Config, runs: int, environment: Mapping[str, str]) -> tuple[Mapping[str, str], ...]:
    """What each worker gets in its environment, as the sweep shares out this machine."""
    from redheart.sweep.pool import plan_slots

    wanted = msgspec.structs.replace(config.sweep, workers=config.ablation.workers, points=max(3, runs))
    return plan_slots(msgspec.structs.replace(config, sweep=wanted), environment).environments[:runs]
