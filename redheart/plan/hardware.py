"""The hardware that is planned for: what this machine has, or what a user says of another one."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from redheart.errors import UsageError
from redheart.machine import GIB, Machine

_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": GIB, "t": 1024 * GIB}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt]?)b?|([kmgt])ib?)", re.IGNORECASE)
#: Of a size that can be meant: who types 8 means GiB, and is told so.
_LEAST, _MOST = 1024**2, 1024**6
#: What a process loses of a device before its first tensor – CUDA's context, the kernels of its libraries – and the share that an
#: allocator can't use because of holes between blocks.
CONTEXT_BYTES, HOLES = int(0.6 * GIB), 0.04
#: Of host memory, what is not left to the system and to whatever else runs.
_HOST_SHARE = 0.95


@dataclass(frozen=True, slots=True)
class Hardware:
    """Devices and memory, of one node or several alike.

    Attributes:
        gpus: a node has; 0: it computes on the CPU.
        gpu_bytes: a GPU has, or has free where it was asked.
        host_bytes: a node may use of its memory.
        gpu_name: as the driver says; None: not known.
    """

    gpus: int
    gpu_bytes: int
    host_bytes: int
    cores: int
    nodes: int = 1
    gpu_name: str | None = None
    has_bf16: bool = True

    @staticmethod
    def of(machine: Machine) -> Hardware:
        """What was found; of unlike GPUs the smallest, because all get the same share."""
        smallest = min(machine.gpus, key=lambda gpu: gpu.free_bytes, default=None)
        return Hardware(
            gpus=len(machine.gpus),
            gpu_bytes=smallest.free_bytes if smallest else 0,
            host_bytes=machine.host_bytes,
            cores=machine.cores,
            gpu_name=smallest.name if smallest else None,
            has_bf16=all(gpu.has_bf16 for gpu in machine.gpus),
        )

    def given(self, *, gpus: int | None, gpu_bytes: int | None, host_bytes: int | None, nodes: int | None) -> Hardware:
        """The same with what a user says in the stead of what was found.

        Raises:
            UsageError: GPUs without their memory, where none was found to take it from, or the reverse.
        """
        changed = self
        if gpu_bytes is not None:
            changed = replace(changed, gpu_bytes=gpu_bytes, gpus=self.gpus or 1, gpu_name=None, has_bf16=True)
        if gpus is not None:
            changed = replace(changed, gpus=gpus)
        if changed.gpus and not changed.gpu_bytes:
            raise UsageError(
                f"--gpus {gpus}: found no --gpu-memory and no GPU here; wanted the memory of one, such as 24GiB"
            )
        if host_bytes is not None:
            changed = replace(changed, host_bytes=host_bytes)
        return changed if nodes is None else replace(changed, nodes=nodes)

    @property
    def usable_gpu_bytes(self) -> int:
        """Of a GPU, for tensors."""
        return max(0, int((self.gpu_bytes - CONTEXT_BYTES) * (1 - HOLES)))

    @property
    def usable_host_bytes(self) -> int:
        """Of a node's memory, for its processes."""
        return int(self.host_bytes * _HOST_SHARE)

    @property
    def has_gpu(self) -> bool:
        return self.gpus > 0

    @property
    def devices(self) -> int:
        """On all nodes; a node's CPU is one."""
        return max(1, self.gpus) * self.nodes


def parse_bytes(text: str) -> int:
    """``8GiB``, ``8GB`` or ``8G`` (each 2^30), ``512MiB``, or a number of bytes.

    Raises:
        ValueError: it is none of these.
    """
    found = _SIZE.fullmatch(text.strip())
    size = float(found[1]) * _UNITS[(found[2] or found[3] or "").lower()] if found else 0.0
    if not 0 < size < _MOST:
        raise ValueError(f"found {text!r}, wanted a size such as 8GiB or 512MiB")
    if size < _LEAST:
        raise ValueError(f"found {text!r}, which is {size:.0f} bytes, wanted a size such as 8GiB or 512MiB")
    return int(size)
