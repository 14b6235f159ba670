"""glibc's allocator, told to give tensors' memory back: for engines whose large tensors come and go in host memory.

By itself it raises the size from which memory is mapped on its own, up to 32 MiB, and keeps what lies below: of ZeRO-3's gathered
layers and copies hundreds of megabytes in each process (up to 4 GiB at 730m). To map and unmap costs page faults, so it is not
done for a plain training, which keeps its tensors (a step of ``small`` took a tenth longer).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MAPPED_FROM = 1 << 20


def _libc(name: str) -> Callable[..., Any] | None:
    """A function of glibc's; None where there is another C library."""
    if not sys.platform.startswith("linux"):
        return None
    found: Callable[..., Any] | None = getattr(ctypes.CDLL(None), name, None)
    return found


def give_back_what_is_freed() -> None:
    """From now on tensors of 1 MiB and more are mapped on their own, and unmapped when they go."""
    if (mallopt := _libc("mallopt")) is not None:
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM)
        mallopt(_M_TRIM_THRESHOLD, _MAPPED_FROM)


def trim() -> None:
    """Gives back what was freed before."""
    if (malloc_trim := _libc("malloc_trim")) is not None:
        malloc_trim(0)
