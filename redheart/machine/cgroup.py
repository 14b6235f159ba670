"""The memory limits of the control groups that this process is in, of both versions and however deep they are nested."""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Version 1 says "none" by the largest number of whole pages; what is this large is no limit.
_NO_LIMIT = 1 << 60


@dataclass(frozen=True)
class MemoryLimit:
    """A control group's limit.

    Attributes:
        limit: bytes that its processes may have together.
        used: bytes that they have, less the file cache that the kernel takes back before it kills.
    """

    folder: Path
    limit: int
    used: int

    @property
    def rest(self) -> int:
        return max(0, self.limit - self.used)


@dataclass(frozen=True)
class _Version:
    """Names of files; in ``memory.stat`` of version 1 the sums over a group's children begin with ``total_``."""

    limit: str
    usage: str
    reclaimable: str


_VERSIONS = {
    "cgroup2": _Version("memory.max", "memory.current", "inactive_file"),
    "cgroup": _Version("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def memory_limits(root: Path = Path("/")) -> list[MemoryLimit]:
    """The limits on this process: of its own group and of all around it; each of them may be the one that kills.

    Args:
        root: where ``proc`` and ``sys`` are, for tests.
    """
    found = []
    for kind, folder, mount in _groups(root):
        while True:
            if (limit := _limit_of(folder, _VERSIONS[kind])) is not None:
                found.append(limit)
            if folder == mount or mount not in folder.parents:
                break
            folder = folder.parent
    return found


def _groups(root: Path) -> Iterator[tuple[str, Path, Path]]:
    """Of each hierarchy with a memory controller: its kind, the folder of this process's group, and where it is mounted."""
    with contextlib.suppress(OSError):
        mounts = list(_mounts(root))
        for line in _lines(root / "proc/self/cgroup"):
            _, controllers, path = line.split(":", 2)
            kind = "cgroup2" if not controllers else "cgroup"
            if kind == "cgroup" and "memory" not in controllers.split(","):
                continue
            for found, mounted_root, point in mounts:
                if found == kind:
                    yield kind, _below(point, mounted_root, path), point


def _mounts(root: Path) -> Iterator[tuple[str, str, Path]]:
    """Mounted hierarchies that may hold a memory controller: kind, which group is their root, where they are mounted."""
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), after.split(" ", 2)
        if kind == "cgroup2" or (kind == "cgroup" and "memory" in options.split(",")):
            point = fields[4].replace("\\040", " ")
            yield kind, fields[3], root / point.lstrip("/")


def _lines(path: Path) -> list[str]:
    """Names of folders stand in it as they are on disk, in whatever encoding: Python names them so too."""
    return [os.fsdecode(line) for line in path.read_bytes().split(b"\n") if line]


def _below(point: Path, mounted_root: str, path: str) -> Path:
    """The folder of the group ``path``. A container may see its own group as the hierarchy's root: then that is it."""
    inside = posixpath.relpath(path, mounted_root)
    folder = point if inside == "." or inside.startswith("..") else point / inside
    return folder if folder.is_dir() else point


def _limit_of(folder: Path, version: _Version) -> MemoryLimit | None:
    try:
        limit = (folder / version.limit).read_text().strip()
        used = int((folder / version.usage).read_text())
    except (OSError, ValueError):
        return None  # the root has none, nor has a group without the controller
    if limit == "max" or not limit.isdigit() or int(limit) >= _NO_LIMIT:
        return None
    return MemoryLimit(folder, int(limit), max(0, used - _reclaimable(folder, version)))


def _reclaimable(folder: Path, version: _Version) -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in (folder / "memory.stat").read_text().splitlines():
            name, _, number = line.partition(" ")
            if name == version.reclaimable:
                return int(number)
    return 0
