"""The stop of a solution that is under way: asked for between tasks by all processes alike, and within one by a process that is alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from redheart.errors import Interrupted


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Stopping:
    """When to stop solving.

    Attributes:
        should_stop: whether this process was asked to.
        agreed: whether any process was, where there are several; collective, so it is asked only where all of them come by.
    """

    should_stop: Callable[[], bool] = _never
    agreed: Callable[[bool], bool] | None = None

    def between(self) -> None:
        """To be called by all processes alike.

        Raises:
            Interrupted: one of them was asked to stop.
        """
        asked = self.should_stop()
        if asked if self.agreed is None else self.agreed(asked):
            raise _interrupted()

    def within(self) -> None:
        """To be called as often as one likes.

        Raises:
            Interrupted: the only process was asked to stop.
        """
        if self.agreed is None and self.should_stop():
            raise _interrupted()


NEVER = Stopping()


def _interrupted() -> Interrupted:
    return Interrupted("stopped before the first step; the same command starts again")
