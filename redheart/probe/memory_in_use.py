"""The memory that this process has, now and at its most since it was last asked, in bytes."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _status() -> dict[str, int]:
    found = {}
    for line in _STATUS.read_text().splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[1] == "kB":
            found[name] = int(words[0]) * 1024
    return found


def host_now() -> int:
    """What it has for itself: files that it maps, such as libraries, do not count."""
    status = _status()
    return status["RssAnon"] + status.get("RssShmem", 0)


def host_peak() -> int:
    """The most since ``forget_peak``. The kernel keeps it of all together, of which what is mapped from files is taken off."""
    status = _status()
    return max(host_now(), status["VmHWM"] - status["RssFile"])


def forget_peak() -> None:
    """From here on the peak is counted anew."""
    with contextlib.suppress(OSError):  # a container may forbid it; the peak is then that of the whole process
        _CLEAR.write_text("5")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def device_peak() -> int:
    """Of tensors on the GPU since ``forget_peak``; 0 without one."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
