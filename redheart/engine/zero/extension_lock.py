"""The lock around compiling a C++ extension: one process at a time, and a lock left by a killed process is removed.

While PyTorch builds an extension, a file ``lock`` lies in the extension's folder (``torch.utils.file_baton``), and every
other process waits, silently and without end, until it is gone: also where nothing is left to build. A process that is
killed leaves it there. So ours take turns by a lock that the kernel frees with its holder (``flock(2)``), and whoever's
turn it is takes PyTorch's away if nobody holds it.

PyTorch keeps the file open while it holds it, which shows the processes of this host and user. Of other hosts that share
the home nothing is seen: ours wait at the kernel's lock there too, and for programs that are not ours a lock counts as
left behind once nothing has changed for ``ABANDONED_AFTER``.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from filelock import FileLock

from redheart.errors import StorageError
from redheart.messages import warn_even_if_quiet

OURS, PYTORCHS = "redheart.lock", "lock"
#: Seconds without a change in the folder: ten times the longest that one compilation took on a busy core.
ABANDONED_AFTER = 600.0
_POLL_SECONDS = 1.0
#: Filesystems that no other host writes to.
_LOCAL = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "reiserfs", "tmpfs", "overlay"})


#: Threads of this process, each with a folder that it is in: to enter again what one is in is nobody else's turn.
_inside: set[tuple[int, Path]] = set()


@contextlib.contextmanager
def sole_loader(folder: Path) -> Iterator[None]:
    """Within it no other process of ours is in it for the same ``folder``, and PyTorch's lock is not there.

    Raises:
        StorageError: the folder can't be locked, or a lock that was left behind can't be removed.
    """
    here = (threading.get_ident(), folder)
    if here in _inside:
        yield
        return
    lock = FileLock(folder / OURS)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        raise StorageError(
            f"{folder}: could not lock: {getattr(error, 'strerror', None) or error}; "
            "set TORCH_EXTENSIONS_DIR to a folder where that is possible"
        ) from error
    try:
        _wait_until_free(folder)
        _inside.add(here)
        yield
    finally:
        _inside.discard(here)
        lock.release()


def _wait_until_free(folder: Path) -> None:
    lock = folder / PYTORCHS
    has_said = False
    suspected: tuple[int, int] | None = None
    while (found := _stat(lock)) is not None:
        holder = _holder(found)
        if holder is None and (_shows_its_holder(lock, found) or _seconds_unchanged(folder) > ABANDONED_AFTER):
            # PyTorch closes the file just before it removes it: left behind is what is still so at a second look.
            if suspected == (found.st_ino, found.st_mtime_ns):
                _remove(lock)
                continue
            suspected = (found.st_ino, found.st_mtime_ns)
        else:
            suspected = None
            if not has_said:
                warn_even_if_quiet(
                    "training.extension_busy", path=lock, holder=holder or "?", minutes=round(ABANDONED_AFTER / 60)
                )
                has_said = True
        time.sleep(_POLL_SECONDS)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _holder(lock: os.stat_result) -> int | None:
    """The number of a process of this host that has the file open."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):  # it was closed just now
                    if os.path.samestat(descriptor.stat(), lock):
                        return int(process.name)
    return None


def _shows_its_holder(path: Path, lock: os.stat_result) -> bool:
    """Whether ``_holder`` would have seen whoever holds it: a process of this host and user."""
    is_readable = Path("/proc/self/fd").is_dir() and os.geteuid() in (0, lock.st_uid)
    mounted = {Path(one.mountpoint): one.fstype for one in psutil.disk_partitions(all=True)}
    place = next((parent for parent in path.resolve().parents if parent in mounted), None)
    return is_readable and place is not None and mounted[place] in _LOCAL


def _seconds_unchanged(folder: Path) -> float:
    """Since anything in the folder changed, by the clock of the filesystem, which need not be this host's."""
    ours = folder / OURS
    ours.touch()
    files = [stat for path in folder.iterdir() if path != ours and (stat := _stat(path)) is not None]
    return ours.stat().st_mtime - max((stat.st_mtime for stat in files), default=0.0)


def _remove(lock: Path) -> None:
    try:
        lock.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"{lock}: was left behind by a process that was killed, and keeps DeepSpeed's extension from being loaded; it "
            f"could not be removed: {error.strerror or error}. Remove it, or set TORCH_EXTENSIONS_DIR to another folder"
        ) from error
    warn_even_if_quiet("training.extension_abandoned", path=lock)
