"""Out-of-memory errors: which they are, what memory is in use, and how it is given back before the next try."""

from __future__ import annotations

import gc
from dataclasses import dataclass

import psutil
import torch

_HOST_MESSAGES = ("can't allocate memory", "not enough memory", "DefaultCPUAllocator")
_DEVICE_MESSAGES = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that device or host memory is used up."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return any(message in str(error) for message in _HOST_MESSAGES + _DEVICE_MESSAGES)


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
    """That memory ran out: the error's first line, in which phase, and what was in use then.

    It holds no exception: an exception's frames hold the tensors that have to go.
    """

    message: str
    phase: str
    before: MemoryInUse

    @classmethod
    def of(cls, error: BaseException, phase: str) -> MemoryFailure:
        return cls((str(error) or type(error).__name__).splitlines()[0], phase, MemoryInUse.now())


def give_back_memory() -> MemoryInUse:
    """Frees what nothing refers to any more; what is in use after it. Not inside an exception's handler."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return MemoryInUse.now()
