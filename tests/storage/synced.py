"""A recorder of what was made durable: which files were synced, at which size, and which folders."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


class Synced:
    """What ``os.fsync`` was called for since this was made, and renames, after which a folder has to be synced again.

    A file is known by its inode, which stays when the file, or a folder that it lies in, is moved into place.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._sizes: dict[int, int] = {}
        self._folders: set[int] = set()
        real = os.fsync

        def fsync(descriptor: int) -> None:
            real(descriptor)
            found = os.fstat(descriptor)
            if stat.S_ISDIR(found.st_mode):
                self._folders.add(found.st_ino)
            else:
                self._sizes[found.st_ino] = found.st_size

        monkeypatch.setattr(os, "fsync", fsync)
        for name in ("rename", "replace"):
            monkeypatch.setattr(os, name, self._renaming(getattr(os, name)))

    def _renaming(self, real: Callable[..., None]) -> Callable[..., None]:
        def rename(source: Any, target: Any, **options: Any) -> None:
            real(source, target, **options)
            self._folders.discard(os.stat(Path(target).parent).st_ino)

        return rename

    def missed(self, root: Path) -> list[str]:
        """Files below ``root`` that were not synced with all that they hold, and folders that were not since the last rename."""
        missed = []
        for folder, folders, names in os.walk(root):
            paths = [Path(folder) / name for name in names]
            missed += [str(path.relative_to(root)) for path in paths if not self._holds(path)]
            if (paths or folders) and os.stat(folder).st_ino not in self._folders:
                missed.append(f"{Path(folder).relative_to(root)}/")
        return sorted(missed)

    def _holds(self, path: Path) -> bool:
        found = path.stat()
        return self._sizes.get(found.st_ino) == found.st_size or not found.st_size
