"""Files by which processes and their supervisor know of each other: who is there, and how each one ended."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from redheart.errors import Memory, StorageError
from redheart.storage import read_struct, write_json

#: How a process ended.
Kind = Literal["done", "stopped", "out_of_memory", "failed"]
T = TypeVar("T", bound=msgspec.Struct)


class Announced(msgspec.Struct, frozen=True, kw_only=True):
    """A process that is there.

    Attributes:
        is_ready: it serves a request to stop by saving; before, there is nothing to save and nobody who would listen.
    """

    rank: int
    pid: int
    is_ready: bool = False


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where in a training a process was when it stopped or failed.

    Attributes:
        step: steps that were taken.
        smaller_micro_batch_size: the next that cuts the same global batch; None: a micro-batch is a single situation, or smaller
            ones would not help.
        phase: of the training, where memory ran out in one.
    """

    step: int
    micro_batch_size: int
    smaller_micro_batch_size: int | None
    phase: str | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a process ended, as it says itself.

    Attributes:
        is_told: it ended as foreseen, and what it says explains it; else an exception was a surprise.
        place: None: it was not in the midst of a training.
        memory: that ran out; None: none did, or it is not known which.
        at: by the clock of the wall, in seconds.
    """

    rank: int
    kind: Kind
    exit_code: int
    message: str = ""
    is_told: bool = True
    place: Place | None = None
    memory: Memory | None = None
    at: float = msgspec.field(default_factory=time.time)


class LaunchFolder:
    """The folder of one start of a group; each file in it is written whole, by the process that it is about."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def lifeline(self) -> Path:
        """A pipe that the supervisor holds open: its end is the supervisor's."""
        return self.root / "lifeline"

    def announce(self, announced: Announced) -> None:
        write_json(self._file("rank", announced.rank), announced)

    def announced(self) -> list[Announced]:
        """Those that are there or were, by rank."""
        return self._all("rank", Announced)

    def leave_place(self, rank: int, place: Place) -> None:
        write_json(self._file("place", rank), place)

    def place(self, rank: int) -> Place | None:
        path = self._file("place", rank)
        return read_struct(path, Place) if path.exists() else None

    def leave(self, outcome: Outcome) -> None:
        write_json(self._file("outcome", outcome.rank), outcome)

    def outcomes(self) -> list[Outcome]:
        """What those that ended have left, by rank."""
        return self._all("outcome", Outcome)

    def _file(self, what: str, rank: int) -> Path:
        return self.root / f"{what}_{rank:05d}.json"

    def _all(self, what: str, kind: type[T]) -> list[T]:
        found = []
        for path in sorted(self.root.glob(f"{what}_*.json")):
            with contextlib.suppress(StorageError):  # it tells nothing, as if it were not there
                found.append(read_struct(path, kind))
        return found
