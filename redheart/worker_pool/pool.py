"""The pool of one machine's workers: started together, one per slot; watched; stopped together, whatever happens."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from multiprocessing import connection
from pathlib import Path
from types import TracebackType

import msgspec

from redheart.worker_pool.process import WorkerProcess, stop
from redheart.worker_pool.slots import environment_of_started


class WorkerPool:
    """Runs ``python -m module`` once for each slot, within a ``with``. It decides nothing: what a death means, whoever uses it says.

    Args:
        module: calls ``run_as_worker``.
        job: what every worker is told first.
        slots: what each worker gets in its environment, on top of ``environment``.
        environment: what all inherit.
        logs: the folder of ``worker_<number>.log``.
    """

    def __init__(
        self,
        module: str,
        job: msgspec.Struct,
        slots: Sequence[Mapping[str, str]],
        environment: Mapping[str, str],
        logs: Path,
    ) -> None:
        self._module, self._job, self._slots, self._logs = module, msgspec.json.encode(job), slots, logs
        # A worker is a single-device job, even where the parent was started by a distributed launcher.
        self._base = environment_of_started(environment)
        #: Those that were not found dead yet.
        self.workers: list[WorkerProcess] = []

    def __enter__(self) -> WorkerPool:
        try:
            for number, slot in enumerate(self._slots):
                log = self._logs / f"worker_{number}.log"
                self.workers.append(WorkerProcess(number, self._module, self._job, {**self._base, **slot}, log))
        except BaseException:
            stop(self.workers)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stop(self.workers)

    def take_dead(self) -> list[WorkerProcess]:
        """Workers that have ended since the last call, for whatever reason; the pool is rid of them."""
        dead = [worker for worker in self.workers if worker.process.poll() is not None]
        for worker in dead:
            self.workers.remove(worker)
            worker.hang_up()
        return dead

    def answers(self, timeout: float) -> list[tuple[WorkerProcess, bytes]]:
        """What workers have answered: waits for the first answer, at most ``timeout`` seconds."""
        links = {worker.link: worker for worker in self.workers if worker.link is not None}
        if not links:
            time.sleep(timeout)
        found = []
        for link in connection.wait(list(links), timeout) if links else ():
            worker = links[link]  # type: ignore[index]  # it gives back what it was given
            answer = worker.receive()
            if answer is not None:
                found.append((worker, answer))
        return found
