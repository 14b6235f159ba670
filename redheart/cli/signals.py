"""Signal handlers: they set a flag and say so; loops check it between steps. A second Ctrl-C stops at once."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def stop_requested() -> Iterator[Callable[[], bool]]:
    """Within it, each of ``stop_signals`` asks for a stop; yields the question whether one was asked for."""
    import signal  # builds tables of names, which --help needs not wait for

    from redheart.engine.launch_variables import is_first_process
    from redheart.messages import text
    from redheart.stop_signals import stop_signals

    asked = 0
    heard = text("workflow.stop_heard") if is_first_process() else ""  # now: a handler should load nothing

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            _say(heard)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, ask) for number in stop_signals()}
    try:
        yield lambda: asked > 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(line: str) -> None:
    """Answers at once on standard error: what is under way – imports, an encoder, a step – may take a while to end.

    Past Python's streams, one of which may be in the midst of a write that the signal came into.
    """
    if not line:
        return
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    errors = getattr(sys.stderr, "errors", None) or "replace"
    with contextlib.suppress(OSError):
        # On a terminal "^C" or a progress bar stands on this line.
        os.write(2, f"{chr(10) if os.isatty(2) else ''}{line}\n".encode(encoding, errors))
