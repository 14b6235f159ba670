"""A launcher and the processes it starts, as one group that can be asked to stop.

``timeout`` and SLURM signal only the process they know, and a launcher that gets SIGTERM kills its workers before they
have saved. So a request to stop goes to the workers themselves: they agree on a step, save, and end; then so does the
launcher.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Callable, Sequence

import psutil

#: Seconds between two checks whether a stop was asked for.
_POLL_EVERY = 0.5


def _workers(launcher: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The launcher's own children: what they started in turn is theirs to end. Before it has any, itself."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(launcher.pid)
        return process.children() or [process]
    return []


def run_group(command: Sequence[str], *, should_stop: Callable[[], bool]) -> tuple[int, bool]:
    """Runs ``command`` to its end; its exit code, and whether it was asked to stop.

    A SIGINT from a terminal reaches every process by itself; to be told a second time by SIGTERM does no harm.
    """
    launcher = subprocess.Popen(command)
    stopped = False
    try:
        while True:
            try:
                return launcher.wait(timeout=_POLL_EVERY), stopped
            except subprocess.TimeoutExpired:
                if should_stop() and not stopped:
                    stopped = True
                    for worker in _workers(launcher):
                        with contextlib.suppress(psutil.NoSuchProcess):
                            worker.send_signal(signal.SIGTERM)
    except BaseException:  # a second Ctrl-C: nothing may go on without us
        launcher.terminate()
        launcher.wait()
        raise
