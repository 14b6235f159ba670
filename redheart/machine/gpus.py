"""The NVIDIA GPUs, asked through the driver's management library (NVML), so that no process gets a CUDA context by being asked.

A context takes 0.3 to 0.5 GiB of a device for as long as its process lives.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from dataclasses import dataclass
from typing import Any

#: Of bfloat16 in the tensor cores: Ampere and later.
_BF16_SINCE = (8, 0)


@dataclass(frozen=True)
class Gpu:
    """One device.

    Attributes:
        compute_capability: major and minor; None: not known.
    """

    name: str
    total_bytes: int
    free_bytes: int
    compute_capability: tuple[int, int] | None = None

    @property
    def has_bf16(self) -> bool:
        return self.compute_capability is not None and self.compute_capability >= _BF16_SINCE


def find_gpus() -> tuple[Gpu, ...]:
    """Those that PyTorch would use here, in the driver's order; none without a driver, or where it can't tell of them."""
    found = _visible_gpus()
    return found if found and _can_be_used() else ()


def _visible_gpus() -> tuple[Gpu, ...]:
    """Those that the driver tells of, whether PyTorch can use them or not; without asking CUDA anything."""
    try:
        import pynvml
    except ImportError:
        return ()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver, or none that works
        return ()
    found: tuple[Gpu, ...] = ()
    try:
        # A device may be lost, not ours to ask, or have no memory of its own to tell of.
        with contextlib.suppress(pynvml.NVMLError):
            found = tuple(_describe(pynvml, handle) for handle in _visible(pynvml))
    finally:
        pynvml.nvmlShutdown()
    return found


def hide_gpus() -> bool:
    """From now on there are none for this process and those that it starts; whether there were any.

    CUDA looks once, when it is first asked for its devices: nobody may have asked yet, and this does not.
    """
    if not _visible_gpus():
        return False
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    return True


def _can_be_used() -> bool:
    """Whether PyTorch computes on GPUs: its build for the CPU does not, nor does one for a newer driver. Makes no context."""
    if importlib.util.find_spec("torch") is None:  # what is told then is what there is
        return True
    import torch

    return torch.cuda.is_available()


def _visible(nvml: Any) -> list[Any]:
    """Handles of what ``CUDA_VISIBLE_DEVICES`` leaves: numbers or UUIDs; the first that does not exist ends the list."""
    count = nvml.nvmlDeviceGetCount()
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    if asked is None:
        return [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(count)]
    found: list[Any] = []
    for word in (part.strip() for part in asked.split(",")):
        handle = _handle(nvml, word, count)
        if handle is None:
            break
        found.append(handle)
    return found


def _handle(nvml: Any, word: str, count: int) -> Any:
    if word.isdecimal():
        return nvml.nvmlDeviceGetHandleByIndex(int(word)) if int(word) < count else None
    if word.startswith("MIG"):
        with contextlib.suppress(nvml.NVMLError):
            return nvml.nvmlDeviceGetHandleByUUID(word.encode())
    for number in range(count) if word else ():
        handle = nvml.nvmlDeviceGetHandleByIndex(number)
        if _text(nvml.nvmlDeviceGetUUID(handle)).startswith(word):  # CUDA takes a beginning for the whole
            return handle
    return None


def _describe(nvml: Any, handle: Any) -> Gpu:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    capability = None
    with contextlib.suppress(nvml.NVMLError):
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
        capability = (int(major), int(minor))
    return Gpu(_text(nvml.nvmlDeviceGetName(handle)), int(memory.total), int(memory.free), capability)


def _text(found: str | bytes) -> str:
    return found.decode() if isinstance(found, bytes) else found
