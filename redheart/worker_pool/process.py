"""The parent's side of one worker: the process, its log, and the link by which it gets tasks and answers."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

#: Seconds that a worker has to end its step after a signal before it is killed; nothing finished is lost by that.
GRACE = 30.0
_TAIL_LINES = 15


class WorkerProcess:
    """A worker process, running ``module`` in a session of its own: Ctrl-C reaches the parent alone.

    Args:
        number: of its slot.
        job: what it is told first, see ``Parent``.
        environment: all of it.
        log: what it says is appended there.
    """

    def __init__(self, number: int, module: str, job: bytes, environment: Mapping[str, str], log: Path) -> None:
        self.number = number
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        # A pair of sockets: either side reads the end of the link when the other is gone, however it went.
        self._link, theirs = multiprocessing.Pipe()
        with theirs, open(log, "ab") as target:
            self._log_start = target.tell()
            self.process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=theirs.fileno(),
                stdout=target,
                stderr=target,
                env=dict(environment),
                start_new_session=True,
            )
        self.send(job)

    @property
    def link(self) -> Connection | None:
        """Where its answers come from; None when no more will come."""
        return None if self._link.closed else self._link

    def send(self, content: bytes) -> None:
        with contextlib.suppress(OSError):  # it has died, which ``WorkerPool.take_dead`` tells
            self._link.send_bytes(content)

    def receive(self) -> bytes | None:
        """The answer that waits; None where the worker has closed its side."""
        try:
            return self._link.recv_bytes()
        except (EOFError, OSError):
            self.hang_up()
            return None

    def hang_up(self) -> None:
        """Closes this side of the link; a worker that runs still takes that for the parent's end."""
        self._link.close()

    def tail(self) -> str:
        """The last lines that it wrote."""
        with open(self.log, "rb") as source:
            source.seek(self._log_start)
            lines = source.read().decode(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-_TAIL_LINES:]) or "    (it wrote nothing)"

    def last_words(self) -> str:
        """How it ended, and the end of its log."""
        return f"worker {self.number} ended with {self.how_it_ended()}; its log {self.log} ends:\n{self.tail()}"

    def was_killed(self) -> bool:
        """Whether a signal ended it, so that it could not say why."""
        return self.process.returncode is not None and self.process.returncode < 0

    def how_it_ended(self) -> str:
        code = self.process.returncode
        if code >= 0:
            return f"exit {code}"
        hint = ": out of memory?" if -code == signal.SIGKILL else ""
        return f"signal {signal.Signals(-code).name}{hint}"


def stop(workers: Sequence[WorkerProcess], grace: float = GRACE) -> None:
    """Asks all to stop, waits ``grace`` seconds, and kills what does not. Returns when none is left."""
    for worker in workers:
        if worker.process.poll() is None:
            worker.process.terminate()
    end = time.monotonic() + grace
    for worker in workers:
        try:
            worker.process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
        worker.hang_up()
