"""The lock of an output folder: one run at a time, because two would move each other's files away."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from filelock import FileLock, Timeout

from redheart.engine.launch_variables import is_first_process
from redheart.errors import FolderInUse, RedHeartError, StorageError
from redheart.paths import OutputPaths
from redheart.storage import read_json, write_json
from redheart.storage.names import reason_of

#: Set for the processes that the holder of a folder starts: they work in it on the holder's behalf.
HELD_VARIABLE = "REDHEART_OUTPUT_HELD"


def _holder(output: Path) -> str:
    with contextlib.suppress(StorageError, KeyError, TypeError):
        found = read_json(OutputPaths(output).lock_holder)
        return f"process {found['pid']} on {found['host']}, since {found['since']}"
    return "another process"


@contextlib.contextmanager
def sole_user(output: Path) -> Iterator[None]:
    """Holds ``output`` for this run and what it starts.

    Raises:
        FolderInUse: another run is at work there; the message names it.
    """
    held = os.environ.get(HELD_VARIABLE)
    if held == str(output.absolute()) or not is_first_process():
        yield
        return
    is_new = not (OutputPaths(output).lock).exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock = FileLock(OutputPaths(output).lock, timeout=0)
        lock.acquire()
    except Timeout:
        raise FolderInUse(
            f"{output}: another run is at work there ({_holder(output)}); wait for it, stop it, or give this one a folder "
            "of its own with --output"
        ) from None
    except (OSError, NotImplementedError) as error:
        raise StorageError(f"{output}: could not lock: {reason_of(error, output)}") from error
    since = datetime.now(timezone.utc).isoformat(timespec="seconds")
    try:
        write_json(OutputPaths(output).lock_holder, {"pid": os.getpid(), "host": socket.gethostname(), "since": since})
        os.environ[HELD_VARIABLE] = str(output.absolute())
        yield
    except RedHeartError as error:
        if is_new and error.is_refusal:
            (OutputPaths(output).lock).unlink(missing_ok=True)
        raise
    finally:
        os.environ.pop(HELD_VARIABLE, None)
        (OutputPaths(output).lock_holder).unlink(missing_ok=True)
        lock.release()
