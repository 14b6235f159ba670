"""Progress of what takes long: a bar where standard error is a terminal, else a line where nothing was said for most of a minute.

Progresses nest, and the innermost speaks. A thread looks at the clock, because what takes long is often one call – a
decomposition, a download, a first batch – that gives no occasion to speak; the command itself is the outermost, so that no
stage can be silent. Any other line that is said counts: where epochs end every few seconds, nothing is added.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from redheart.messages.catalog import text
from redheart.messages.log import LOGGER_NAME, info

if TYPE_CHECKING:
    from tqdm import tqdm

T = TypeVar("T")
#: Seconds without a word after which there is one: less than a minute, however late the thread gets its turn.
EVERY = 45.0
_LOOKS_EVERY = 1.0
#: A bar that is gone within these seconds is not drawn at all.
_BRIEF = 3.0


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, as in 1:02:03 and 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def rate_in_words(a_second: float) -> str:
    """A rate in the unit of time in which it is at least one."""
    for key, seconds in (("progress.a_second", 1), ("progress.a_minute", 60)):
        if a_second * seconds >= 1:
            return text(key, count=f"{a_second * seconds:.1f}")
    return text("progress.an_hour", count=f"{a_second * 3600:.1f}")


class Ticker:
    """Sees that the innermost of the progresses under way speaks where nothing else does.

    Args:
        clock: seconds that only go forward.
        has_thread: look at the clock by itself; else whoever made it calls ``tick``.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, has_thread: bool = True) -> None:
        self.clock = clock
        self._has_thread = has_thread
        self._under_way: list[Progress] = []
        self._heard = clock()
        self._ended: threading.Event | None = None

    def begin(self, progress: Progress) -> None:
        """``progress`` is under way, and the innermost."""
        self._under_way.append(progress)
        if len(self._under_way) > 1:
            return
        self._heard = self.clock()
        logging.getLogger(LOGGER_NAME).addFilter(self._hear)
        if self._has_thread:
            self._ended = threading.Event()
            threading.Thread(target=self._look, args=[self._ended], name="progress", daemon=True).start()

    def end(self, progress: Progress) -> None:
        """``progress`` is over; a reader that was left in the midst may end after what was begun later."""
        self._under_way.remove(progress)
        if self._under_way:
            return
        logging.getLogger(LOGGER_NAME).removeFilter(self._hear)
        if self._ended is not None:
            self._ended.set()

    def _hear(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.INFO:
            self._heard = self.clock()
        return True

    def _look(self, ended: threading.Event) -> None:
        while not ended.wait(_LOOKS_EVERY):
            self.tick()

    def tick(self) -> None:
        """Has the innermost speak, if it is time."""
        innermost = next(iter(self._under_way[-1:]), None)
        if innermost is not None and self.clock() - self._heard >= EVERY:
            self._heard = self.clock()
            innermost.say()


_ticker = Ticker()


class Progress:
    """What is under way, within a ``with``.

    Args:
        what: in words, with what is counted.
        total: of which there are so many; None: nothing can be counted.
        done: so many were done before.
        is_shown: False for all but a run's first process, and while others speak.
        is_brief: usually over in a moment: the bar comes late and leaves nothing behind.
        unit: for the bar; ``B`` for bytes.
    """

    def __init__(
        self,
        what: str,
        total: int | None = None,
        *,
        done: int = 0,
        is_shown: bool = True,
        is_brief: bool = False,
        unit: str = "it",
        ticker: Ticker | None = None,
    ) -> None:
        self.what, self.total, self.done = what, total, done
        self._before, self._is_shown, self._is_brief, self._unit = done, is_shown, is_brief, unit
        self._ticker = ticker or _ticker
        self._began = self._ticker.clock()
        self._note = ""
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> Progress:
        self._began = self._ticker.clock()
        if self._is_shown and self.total is not None and sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=self.total,
                initial=self.done,
                desc=self.what,
                unit=self._unit,
                unit_scale=self._unit == "B",
                dynamic_ncols=True,
                delay=_BRIEF if self._is_brief else 0,
                leave=not self._is_brief,
            )
        self._ticker.begin(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ticker.end(self)
        if self._bar is not None:
            self._bar.close()

    def update(self, count: int = 1) -> None:
        """So many more are done."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)

    def over(self, items: Iterable[T]) -> Iterator[T]:
        """Goes over ``items``, of which each is done when the next is asked for."""
        with self:
            for one in items:
                yield one
                self.update()

    def note(self, words: str) -> None:
        """What is said behind the numbers."""
        self._note = words
        if self._bar is not None:
            self._bar.set_postfix_str(words, refresh=False)

    def time_left(self) -> float | None:
        """Seconds, at the rate so far; None where nothing tells."""
        new, elapsed = self.done - self._before, self._ticker.clock() - self._began
        return None if self.total is None or new <= 0 else (self.total - self.done) * elapsed / new

    def say(self) -> None:
        """Says a line; draws the bar anew where there is one."""
        if not self._is_shown:
            return
        if self._bar is not None:
            self._bar.refresh()
            return
        elapsed = max(self._ticker.clock() - self._began, 1e-9)
        if self.total is None:
            info("progress.elapsed", what=self.what, elapsed=duration(elapsed))
            return
        left, note = self.time_left(), f" ({self._note})" if self._note else ""
        info(
            "progress.line",
            what=self.what,
            done=self._shown(self.done),
            total=self._shown(self.total),
            percent=f"{100 * self.done / max(self.total, 1):.0f}",
            rate=self._rate((self.done - self._before) / elapsed) if left is not None else "–",
            elapsed=duration(elapsed),
            left="–" if left is None else duration(left),
            note=note,
        )

    def _shown(self, count: int) -> str:
        return f"{count / 1e6:,.0f} MB" if self._unit == "B" else f"{count:,}"

    def _rate(self, a_second: float) -> str:
        return (
            text("progress.a_second", count=f"{a_second / 1e6:.1f} MB")
            if self._unit == "B"
            else rate_in_words(a_second)
        )


def others_speak() -> Progress:
    """While processes of ours speak for themselves: nothing is said here."""
    return Progress("", is_shown=False)
