"""Out-of-memory errors: which they are, what memory is in use, and how it is given back before the next try."""

from __future__ import annotations

import gc
from dataclasses import dataclass

import psutil
import torch

from redheart.errors import Memory
from redheart.machine.memory_errors import is_out_of_memory, memory_of

__all__ = ["MemoryFailure", "MemoryInUse", "give_back_memory", "is_out_of_memory", "memory_of"]


@dataclass(frozen=True)
class MemoryInUse:
    """Bytes of this process: allocated on the device (None without one), and resident."""

    device: int | None
    host: int

    @classmethod
    def now(cls) -> MemoryInUse:
        on_cuda = torch.cuda.is_available()
        return cls(torch.cuda.memory_allocated() if on_cuda else None, psutil.Process().memory_info().rss)


@dataclass(frozen=True)
class MemoryFailure:
    """That memory ran out: the error's first line, in which phase, what was in use then, and which memory it was.

    It holds no exception: an exception's frames hold the tensors that have to go.
    """

    message: str
    phase: str
    before: MemoryInUse
    memory: Memory | None = None

    @classmethod
    def of(cls, error: BaseException, phase: str) -> MemoryFailure:
        return cls((str(error) or type(error).__name__).splitlines()[0], phase, MemoryInUse.now(), memory_of(error))


def give_back_memory() -> MemoryInUse:
    """Frees what nothing refers to any more; what is in use after it. Not inside an exception's handler."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return MemoryInUse.now()
