"""Signal handlers: they set a flag and do nothing else; loops check it between steps. A second Ctrl-C stops at once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def stop_requested() -> Iterator[Callable[[], bool]]:
    """Within it, SIGINT and SIGTERM ask for a stop; yields the question whether one was asked for."""
    import signal  # builds tables of names, which --help needs not wait for

    asked = 0

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked += 1
        if asked > 1 and number == signal.SIGINT:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked > 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
