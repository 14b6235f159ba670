"""Signal handlers: they set a flag and say so; loops check it between steps. A second Ctrl-C stops at once."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from types import FrameType


class StopRequest:
    """Whether a stop was asked for, and by which signal first.

    Attributes:
        number: None: none was asked for.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    def __call__(self) -> bool:
        return self.number is not None


@contextlib.contextmanager
def stop_requested() -> Iterator[StopRequest]:
    """Within it, each of ``stop_signals`` asks for a stop; yields the question whether one was asked for."""
    import signal  # builds tables of names, which --help needs not wait for

    from redheart.engine.launch_variables import is_first_process
    from redheart.launching.rank import say_ready
    from redheart.messages import text
    from redheart.stop_signals import stop_signals

    request = StopRequest()
    heard = text("workflow.stop_heard") if is_first_process() else ""  # now: a handler should load nothing

    def ask(number: int, frame: FrameType | None) -> None:
        if request.number is None:
            request.number = number
            _say(heard)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, ask) for number in stop_signals()}
    say_ready()
    try:
        yield request
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
