"""The replacement of a folder by a new one, without a moment in which there is none.

``rename(2)`` can't replace a folder that has something in it. Linux can exchange two names in one step; where the
system or the filesystem can't (NFS, some cluster filesystems), there are two renames.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from redheart.storage.atomic import sync_folder

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def exchange(first: Path, second: Path) -> bool:
    """Exchanges two names in one step (renameat2(2), Linux 3.15); False, and nothing done, where that can't be."""
    import ctypes

    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    return bool(rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0)


def replace_folder(new: Path, target: Path) -> None:
    """Puts the complete folder ``new`` in the place of ``target``, which is then gone. Both lie in one folder.

    Where names can't be exchanged, a kill between the two renames leaves no ``target``; ``new`` then holds the new
    content and ``.<target>.old`` the old, both whole, until the next call.

    Raises:
        OSError: ``target`` is as it was.
    """
    retired = target.with_name(f".{target.name}.old")
    if target.exists():
        shutil.rmtree(retired, ignore_errors=True)  # only now: until there is a target it may be all there is
        if exchange(new, target):
            new.rename(retired)
        else:
            target.rename(retired)
            try:
                new.rename(target)
            except OSError:
                retired.rename(target)
                raise
    else:
        new.rename(target)
    sync_folder(target.parent)
    shutil.rmtree(retired, ignore_errors=True)
