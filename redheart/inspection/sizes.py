"""Sizes of files and folders in bytes, and as people read them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 where there is nothing. What vanishes meanwhile counts as nothing."""
    total = 0
    if not path.is_dir():
        with contextlib.suppress(OSError):
            total = path.stat().st_size
        return total
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(folder, name)).st_size
    return total


def shown_size(count: float) -> str:
    """In the largest unit of which there is one."""
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB"):
        count /= 1024
        if count < 1024:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} GiB"
