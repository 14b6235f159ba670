"""The errors by which Python, PyTorch and the system say that memory is used up, and which memory each means."""

from __future__ import annotations

import errno
import sys

from redheart.errors import Memory, OutOfMemory, RedHeartError

_HOST_MESSAGES = (
    "can't allocate memory",
    "Cannot allocate memory",
    "not enough memory",
    "DefaultCPUAllocator",
    "std::bad_alloc",
)
_DEVICE_MESSAGES = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that device or host memory is used up."""
    return not isinstance(error, RedHeartError) and memory_of(error) is not None


def memory_of(error: BaseException) -> Memory | None:
    """Which memory an error says is used up; None: it says nothing of the kind."""
    if isinstance(error, OutOfMemory):
        return error.memory
    if isinstance(error, MemoryError):
        return "host"
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return "host"
    if "torch" in sys.modules and isinstance(error, sys.modules["torch"].OutOfMemoryError):
        return "device"
    message = str(error)
    if any(saying in message for saying in _DEVICE_MESSAGES):
        return "device"
    return "host" if any(saying in message for saying in _HOST_MESSAGES) else None
