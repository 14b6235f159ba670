"""The rights of this user in a folder: whether something may be written there, asked before anything is, or read."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

from redheart.errors import StorageError

#: Of an error: it is this folder that may not be written; another may.
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def is_writable(folder: Path) -> bool:
    """Whether a file may be made in ``folder``: asked of the system, and then tried (a mount may be read-only).

    A folder that its owner made read-only is respected for root too, whom the system lets write anywhere.

    Raises:
        StorageError: it can't for a reason that another folder would not mend: the disk is full.
    """
    nobody_writes = not folder.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    if nobody_writes or not os.access(folder, os.W_OK | os.X_OK):
        return False
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".redheart-"):
            return True
    except OSError as error:
        if error.errno in REFUSED:
            return False
        raise StorageError(f"{folder}: could not write: {error.strerror or error}") from error


def closed_to_this_user(path: Path) -> Path | None:
    """The first part of ``path`` that is there and may not be read by this user, or not be looked into; None: nothing is."""
    for part in (*reversed(path.absolute().parents), path):
        if not os.path.lexists(part):
            return None
        # A folder on the way need not be listed, only gone through.
        wanted = os.R_OK if part == path else 0
        if not os.access(part, wanted | (os.X_OK if os.path.isdir(part) else 0)):
            return part
    return None


def may_be_made(path: Path) -> bool:
    """Whether ``path``, which may be there, could be written with the folders that it lacks, as far as rights decide."""
    if os.path.exists(path) and not os.path.isdir(path):
        return os.access(path, os.W_OK) and may_be_made(path.parent)
    folder = path.absolute()
    while not os.path.isdir(folder) and folder != folder.parent:
        folder = folder.parent
    try:
        return is_writable(folder)
    except (OSError, StorageError):
        return True  # whoever writes says what is wrong
