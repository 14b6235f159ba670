"""The lock of a vectors folder: one process at a time writes it; the others wait, and can be told to stop meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from redheart.errors import Interrupted, StorageError
from redheart.messages import info
from redheart.storage.names import reason_of

LOCK_NAME = ".lock"
_POLL_SECONDS = 0.5


@contextlib.contextmanager
def locked(folder: Path, should_stop: Callable[[], bool] | None) -> Iterator[None]:
    """Holds the folder's lock: two processes that embed the same dataset do it one after the other."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK_NAME)
        waited = False
        while True:
            try:
                lock.acquire(timeout=_POLL_SECONDS)
                break
            except Timeout:
                if should_stop is not None and should_stop():
                    raise Interrupted(
                        f"{folder}: stopped while another process was embedding; nothing was lost"
                    ) from None
                if not waited:
                    info("embedding.waiting", path=folder)
                    waited = True
    except (OSError, NotImplementedError) as error:
        raise StorageError(f"{folder}: could not lock: {reason_of(error, folder)}") from error
    try:
        yield
    finally:
        lock.release()
