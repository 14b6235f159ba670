"""Facts of a training's starts: why its processes were started again, and with what; ``launches.json``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Literal

import msgspec

from redheart.errors import Memory, StorageError
from redheart.paths import OutputPaths
from redheart.storage import read_struct, write_json

#: Why a group ended that was started again, or could not be.
Cause = Literal["out_of_memory", "killed", "port_taken"]


class LaunchEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Once that a group of processes ended before its time.

    Attributes:
        time: in ISO 8601.
        rank: of the process that ended it; None: the launcher itself.
        is_again: it was started again; else it was given up.
        step, micro_batch_size: where that process was; None: in no training yet, or it could not say.
        smaller_micro_batch_size: what was tried next; None: nothing smaller by the same strategy.
        memory: that ran out, ``device`` or ``host``; None: none did, or it is not known which.
        phase: of the training, such as ``backward``; None as in files of before.
        strategy: by which it had been started, in words; ``next_strategy``: by which it went on, where it is another.
        next_micro_batch_size: with what that was started.
    """

    time: str
    cause: Cause
    rank: int | None
    message: str
    is_again: bool
    processes: int
    step: int | None = None
    micro_batch_size: int | None = None
    smaller_micro_batch_size: int | None = None
    memory: Memory | None = None
    phase: str | None = None
    strategy: str | None = None
    next_strategy: str | None = None
    next_micro_batch_size: int | None = None


class Launches(msgspec.Struct, frozen=True, kw_only=True):
    """``launches.json``: events in order."""

    events: tuple[LaunchEvent, ...] = ()


def read_launches(output: Path) -> Launches:
    """What the supervisor of the run in ``output`` noted; nothing where it noted nothing.

    Raises:
        StorageError: the file is damaged.
    """
    path = OutputPaths(output).launches
    return read_struct(path, Launches, fix="remove it") if path.exists() else Launches()


def note_launch(output: Path, event: LaunchEvent) -> None:
    """Adds ``event``; of a file that is damaged a new one is made.

    Raises:
        StorageError: it can't be written.
    """
    before = Launches()
    with contextlib.suppress(StorageError):
        before = read_launches(output)
    write_json(OutputPaths(output).launches, Launches(events=(*before.events, event)))
