"""The place that a conversion is written to: whether it may be, whether there is room, and that nobody else is at work there."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from redheart.errors import FolderInUse, StorageError
from redheart.storage.names import reason_of
from redheart.storage.writable import is_writable

#: In the folder that is worked in: the files that are written, and the lock.
FILES, _LOCK = "files", "lock"
#: Bytes beside the weights: index, manifest, journal; for each tensor a name and a shape in the first two.
_BESIDE, _BESIDE_A_TENSOR = 1 << 16, 512


def megabytes(size: int) -> str:
    """A count of bytes for a message."""
    return f"{size / 1e6:,.1f}"


def check_room(target: Path, size: int, count: int, work: Path) -> None:
    """Whether ``count`` tensors in files of ``size`` bytes may be written, and fit.

    Raises:
        StorageError: they do not, with both counts of bytes.
    """
    folder = target.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    if not is_writable(folder):
        raise StorageError(f"{target}: may not be written by this user: the folder {folder} is not theirs to write in")
    there = sum(file.stat().st_size for file in work.rglob("*") if file.is_file()) if work.is_dir() else 0
    needed, free = size + _BESIDE + _BESIDE_A_TENSOR * count - there, shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(
            f"{target}: {megabytes(needed)} MB are needed on the disk of {folder}, and {megabytes(free)} MB are free there; "
            "nothing was written: make room, or name another disk with --to"
        )


@contextlib.contextmanager
def sole_writer(work: Path, path: Path) -> Iterator[None]:
    """Holds the folder that is worked in."""
    try:
        (work / FILES).mkdir(parents=True, exist_ok=True)
        lock = FileLock(work / _LOCK, timeout=0)
        lock.acquire()
    except Timeout:
        raise FolderInUse(
            f"{path}: another conversion is writing it ({work}); wait for it, or name another place"
        ) from None
    except (OSError, NotImplementedError) as error:
        raise StorageError(f"{path}: not written: {reason_of(error, work)}") from error
    try:
        yield
    finally:
        lock.release()
