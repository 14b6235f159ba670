"""The micro-batches that trainings came down to after a larger one ran out of memory, kept in the user's cache for the next one.

A file of that is a convenience: what is wrong with it is a warning, and never keeps a training from anything.
"""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import msgspec
from filelock import FileLock, Timeout

from redheart.errors import StorageError
from redheart.messages import info, warn
from redheart.storage import read_struct, write_json

#: Seconds for another training that writes it.
_WAIT = 5.0
_FILE = "micro_batches.json"


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """What a micro-batch that fits hangs on.

    Attributes:
        device: the name of the GPU, or the processor's.
        memory: all of the device's, or the host's where there is none, in MiB.
        processes: that share a global batch.
        strategy: in words.
        segments: of the longest situation; None: not known, and then what is known of any counts.
    """

    preset: str
    parameters: int
    device: str
    memory: int
    precision: str
    d_embed: int
    global_batch_size: int
    processes: int
    strategy: str
    segments: int | None


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """The largest micro-batch with which a step was taken after a larger one had failed, and when, in ISO 8601."""

    key: Key
    micro_batch_size: Annotated[int, msgspec.Meta(ge=1)]
    time: str


class _Book(msgspec.Struct, frozen=True, kw_only=True):
    entries: tuple[Remembered, ...] = ()


def cache_file() -> Path:
    """Where it is kept: in ``$REDHEART_CACHE``, ``$XDG_CACHE_HOME/redheart`` or ``~/.cache/redheart``.

    Raises:
        OSError: there is no home.
    """
    if own := os.environ.get("REDHEART_CACHE"):
        return Path(own) / _FILE
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # Of the specification: one that is not absolute counts as none.
        return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "redheart" / _FILE
    except RuntimeError as error:
        raise OSError(str(error)) from error


def recall(key: Key) -> tuple[int, Path] | None:
    """The micro-batch to begin with, and the file that says so; None: nothing is known. Whatever is wrong is a warning."""
    try:
        path = cache_file()
        entries = _read(path).entries if path.exists() else ()
    except (StorageError, OSError) as error:
        warn("plan.cache_unreadable", reason=error)
        return None
    found = [one.micro_batch_size for one in entries if _is_of(one.key, key)]
    return (min(found), path) if found else None


def remember(key: Key, micro_batch_size: int) -> None:
    """Keeps it in the stead of what was kept of the same key. Whatever is wrong is a warning."""
    try:
        path = cache_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock", timeout=_WAIT):
            try:
                before = _read(path).entries if path.exists() else ()
            except StorageError as error:
                warn("plan.cache_unreadable", reason=error)
                before = ()
            now = datetime.now(timezone.utc).isoformat(timespec="seconds")
            entry = Remembered(key=key, micro_batch_size=micro_batch_size, time=now)
            write_json(path, _Book(entries=(*(one for one in before if one.key != key), entry)))
    except (StorageError, OSError, Timeout, NotImplementedError) as error:  # the last: a filesystem without locks
        warn("plan.cache_unwritable", reason=error)
        return
    info("plan.remembered", size=micro_batch_size, path=path)


def _read(path: Path) -> _Book:
    return read_struct(path, _Book, fix="remove it: what it held is found out again")


def _is_of(there: Key, asked: Key) -> bool:
    if asked.segments is None:
        there = msgspec.structs.replace(there, segments=None)
    return there == asked
