"""The signals that ask a process to save and stop: what a keyboard, a scheduler or a batch file sends.

SIGUSR1 and SIGUSR2 are what batch files ask a scheduler for some time before a limit (``sbatch --signal``); by default they
end a process on the spot.
"""

from __future__ import annotations

import signal


def stop_signals() -> list[signal.Signals]:
    """SIGINT, SIGTERM, SIGUSR2, and SIGUSR1 where nobody else in this process has a use for it."""
    found = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR2]
    # One that is ignored was ignored by whoever started this process, for the time until it can serve it.
    is_free = signal.getsignal(signal.SIGUSR1) in (signal.SIG_DFL, signal.SIG_IGN)
    return [*found, signal.SIGUSR1] if is_free else found
