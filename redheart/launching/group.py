"""One start of a group of processes, watched to its end: requests to stop are handed on, and none of it outlives it.

A launcher that gets a signal kills its processes half a minute later, saved or not: so it gets none, and signals go to the
processes that it started, which say themselves who they are. A process that has died leaves the others in a collective
operation for ever: so these are ended.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from redheart.errors import StorageError
from redheart.launching.outcome import LaunchFolder, Outcome
from redheart.launching.rank import FOLDER_VARIABLE
from redheart.messages import info

#: Seconds between two looks at the group.
POLL_EVERY = 0.1
#: Seconds that processes have to end by themselves after one of them has failed; a save is atomic, and would not come to its end.
GRACE = 10.0
#: Ignores the signals that ask for a stop, and so do the launcher and its processes, until these can serve them: a scheduler
#: signals all that it finds.
_DEAF = 'trap "" TERM INT USR1 USR2; exec "$@"'


@dataclass(frozen=True)
class Ended:
    """How a group ended.

    Attributes:
        code: the exit code of what was started; of one that a signal ended, its number below zero.
        outcomes: what its processes said.
        lost: ranks of those that said nothing, and were not ended by us.
        count: how many processes had been there.
        asked_to_stop: it was.
    """

    code: int
    outcomes: tuple[Outcome, ...]
    lost: tuple[int, ...]
    count: int
    asked_to_stop: bool


def run_group(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    should_stop: Callable[[], bool],
    stop_with: Callable[[], int] = lambda: signal.SIGTERM,
    grace: float = GRACE,
) -> Ended:
    """Runs ``command`` and the processes that it starts to their end, however long they take to save.

    Args:
        environment: all of it.
        stop_with: the signal that asks them to stop.

    Raises:
        KeyboardInterrupt: a second Ctrl-C; all are killed.
    """
    with _launch_folder() as folder:
        launcher = subprocess.Popen(
            ["/bin/sh", "-c", _DEAF, "sh", *command],
            env={**environment, FOLDER_VARIABLE: str(folder.root), "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGQUIT"},
            start_new_session=True,
        )
        group = _Group(launcher, folder, grace)
        try:
            return group.wait(should_stop, stop_with)
        finally:
            group.kill()


@contextlib.contextmanager
def _launch_folder() -> Iterator[LaunchFolder]:
    """A folder of this start, whose lifeline lasts as long as this process."""
    with contextlib.ExitStack() as undone:
        try:
            folder = LaunchFolder(Path(tempfile.mkdtemp(prefix="redheart-launch-")))
            undone.callback(shutil.rmtree, folder.root, ignore_errors=True)
            os.mkfifo(folder.lifeline)
            lifeline = os.open(folder.lifeline, os.O_RDWR)
        except OSError as error:  # without any folder for temporary files the text names those that were tried
            where = tempfile.tempdir or "TMPDIR"
            raise StorageError(f"{where}: could not make a folder for the launch: {error.strerror or error}") from error
        undone.callback(os.close, lifeline)
        yield folder


class _Group:
    """A launcher, and the processes that announced themselves."""

    def __init__(self, launcher: subprocess.Popen[bytes], folder: LaunchFolder, grace: float) -> None:
        self._launcher, self._folder, self._grace = launcher, folder, grace
        self._processes: dict[int, psutil.Process | None] = {}
        self._ready: set[int] = set()
        self._told: set[int] = set()

    def wait(self, should_stop: Callable[[], bool], stop_with: Callable[[], int]) -> Ended:
        asked, lost = False, list[int]()
        while True:
            is_over = self._launcher.poll() is not None  # before the look: what was written until then is seen
            self._look()
            if not asked and should_stop():
                asked = True
                info("launching.handed_on")
            if asked:
                self._hand_on(stop_with())
            living = self._living()
            lost = self._lost(living)
            if is_over and not living:
                break
            if self._has_failed(lost, is_over=is_over, asked=asked):
                lost = self._end()
                break
            time.sleep(POLL_EVERY)
        code = self._launcher.wait()
        return Ended(code, tuple(self._folder.outcomes()), tuple(lost), len(self._processes), asked)

    def _look(self) -> None:
        for one in self._folder.announced():
            if one.rank not in self._processes:
                try:
                    self._processes[one.rank] = psutil.Process(one.pid)
                except psutil.NoSuchProcess:
                    self._processes[one.rank] = None
            if one.is_ready:
                self._ready.add(one.rank)

    def _hand_on(self, number: int) -> None:
        """To each process once, as soon as it serves it: a second request would end it on the spot."""
        for rank in sorted(self._ready - self._told):
            self._told.add(rank)
            process = self._processes[rank]
            if process is not None:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)

    def _living(self) -> list[int]:
        return [rank for rank, process in self._processes.items() if process is not None and _lives(process)]

    def _lost(self, living: Sequence[int]) -> list[int]:
        """Of those that were found not to live, those that left no outcome: it is written before the end."""
        told = {outcome.rank for outcome in self._folder.outcomes()}
        return [rank for rank in self._processes if rank not in living and rank not in told]

    def _has_failed(self, lost: Sequence[int], *, is_over: bool, asked: bool) -> bool:
        if lost or any(outcome.kind in ("failed", "out_of_memory") for outcome in self._folder.outcomes()):
            return True
        return is_over and self._launcher.returncode != 0 and not asked  # it left its processes behind

    def _end(self) -> list[int]:
        """Ends what is left; the ranks that had been lost before."""
        lost = self._lost(self._living())
        for rank in self._living():
            process = self._processes[rank]
            if process is not None and rank not in self._told:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.terminate()
        give_up = time.monotonic() + self._grace
        while time.monotonic() < give_up and (self._launcher.poll() is None or self._living()):
            time.sleep(POLL_EVERY)
            self._look()
        self.kill()
        return lost

    def kill(self) -> None:
        """Kills what is left, and what that started in turn. Returns when it is gone."""
        self._look()
        found: set[psutil.Process] = set()
        roots = [process for process in self._processes.values() if process is not None and _lives(process)]
        if self._launcher.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                roots.append(psutil.Process(self._launcher.pid))
        for root in roots:
            with contextlib.suppress(psutil.NoSuchProcess):
                found |= {root, *root.children(recursive=True)}
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._launcher.wait()
        psutil.wait_procs([one for one in found if one.pid != self._launcher.pid], timeout=self._grace)


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
