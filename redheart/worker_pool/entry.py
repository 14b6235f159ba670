"""The worker's side of the pool: how its process begins, receives messages from its parent, and ends.

The first message on the link is the job; more may follow, one per task. A signal, and the end of the link, which is the
end of the parent, ask for a stop at the next step. A worker that has not ended ``GRACE`` seconds after its parent is ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from queue import SimpleQueue
from types import FrameType

from redheart.errors import RedHeartError
from redheart.stop_signals import stop_signals
from redheart.worker_pool.process import GRACE


class Parent:
    """The parent as a worker knows it."""

    def __init__(self, link: Connection) -> None:
        self._link = link
        self.job = link.recv_bytes()
        self._is_stopping = False
        self._tasks: SimpleQueue[bytes | None] = SimpleQueue()  # None: there will be no more
        for number in stop_signals():
            signal.signal(number, self._on_signal)
        threading.Thread(target=self._listen, name="parent", daemon=True).start()

    def should_stop(self) -> bool:
        """Whether a signal asked for that, or the parent is gone."""
        return self._is_stopping

    def tasks(self) -> Iterator[bytes]:
        """What the parent asks for, until it asks to stop."""
        while (task := self._tasks.get()) is not None and not self._is_stopping:
            yield task

    def answer(self, content: bytes) -> None:
        with contextlib.suppress(OSError):  # the parent is gone, which ``should_stop`` tells
            self._link.send_bytes(content)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop()

    def _stop(self) -> None:
        self._is_stopping = True
        self._tasks.put(None)

    def _listen(self) -> None:
        try:
            while True:
                self._tasks.put(self._link.recv_bytes())
        except (EOFError, OSError):
            self._stop()
        time.sleep(GRACE)
        os._exit(1)


def run_as_worker(work: Callable[[Parent], None]) -> int:
    """Does ``work`` in this process, which a ``WorkerPool`` started; its exit code."""
    link = Connection(os.dup(sys.stdin.fileno()))
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), sys.stdin.fileno())  # the link is not for whoever else reads standard input
    try:
        work(Parent(link))
    except RedHeartError as error:
        sys.stderr.write(f"{error}\n")  # not a log line: the pool quotes the end of this stream
        return error.exit_code
    return 0
