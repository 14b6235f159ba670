"""Devices, memory and disk of this machine, as found."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import psutil

from redheart.machine.cgroup import memory_limits
from redheart.machine.gpus import Gpu, find_gpus

GIB = 1024**3


@dataclass(frozen=True)
class Machine:
    """Devices and memory as found at the start.

    Attributes:
        gpus: as CUDA would use them; see ``gpus.py``.
        host_bytes: host memory that this process may use: the smaller of what is free and the cgroup's rest.
        disk_bytes: free space where the output goes.
    """

    gpus: tuple[Gpu, ...]
    host_bytes: int
    cores: int
    disk_bytes: int

    @property
    def situation(self) -> Literal["cpu", "single_gpu", "multi_gpu"]:
        return "cpu" if not self.gpus else "single_gpu" if len(self.gpus) == 1 else "multi_gpu"


def host_memory() -> int:
    """Bytes of host memory that this process may still use: the least of what is free and what control groups leave."""
    return min([psutil.virtual_memory().available, _address_space(), *(limit.rest for limit in memory_limits())])


def _address_space() -> int:
    """What ``ulimit -v`` leaves of addresses, from which memory is taken; a great number without one."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return 1 << 62
    return max(0, limit - psutil.Process().memory_info().vms)


def processor_name() -> str:
    """As the system calls it."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return name


def inspect_machine(output: Path) -> Machine:
    """Looks at devices, memory and disk."""
    existing = output.absolute()
    while not existing.exists():
        existing = existing.parent
    return Machine(
        gpus=find_gpus(),
        host_bytes=host_memory(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        disk_bytes=shutil.disk_usage(existing).free,
    )


def capacity(output: Path) -> Machine:
    """The same machine as if nothing else ran on it: with all memory of its GPUs and its host that this process is allowed."""
    found = inspect_machine(output)
    limits = [limit.limit for limit in memory_limits()]
    return replace(
        found,
        gpus=tuple(replace(gpu, free_bytes=gpu.total_bytes) for gpu in found.gpus),
        host_bytes=min([psutil.virtual_memory().total, *limits]),
    )
