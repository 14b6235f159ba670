"""The machine: device, memory and disk, and the precision and preset that follow from them. Every choice is logged."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from redheart.config import Config
from redheart.messages import text

GIB = 1024**3
Precision = Literal["no", "bf16", "fp16"]


@dataclass(frozen=True)
class Machine:
    """Devices and memory as found at the start.

    Attributes:
        gpus: name and memory in bytes (total, free) of each CUDA device.
        host_bytes: host memory that this process may use: the smaller of what is free and the cgroup's rest.
        disk_bytes: free space where the output goes.
    """

    gpus: tuple[tuple[str, int, int], ...]
    host_bytes: int
    cores: int
    disk_bytes: int

    @property
    def situation(self) -> Literal["cpu", "single_gpu", "multi_gpu"]:
        return "cpu" if not self.gpus else "single_gpu" if len(self.gpus) == 1 else "multi_gpu"


def _cgroup_rest() -> int | None:
    """Bytes left under this process's memory limit, if there is one (cgroup v2, then v1)."""
    for limit_file, usage_file in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            limit, usage = Path(limit_file).read_text().strip(), int(Path(usage_file).read_text())
        except (OSError, ValueError):
            continue
        return None if limit == "max" or int(limit) > 1 << 60 else max(0, int(limit) - usage)
    return None


def host_memory() -> int:
    """Bytes of host memory that this process may still use: the smaller of what is free and the cgroup's rest."""
    available, rest = psutil.virtual_memory().available, _cgroup_rest()
    return available if rest is None else min(available, rest)


def inspect_machine(output: Path) -> Machine:
    """Looks at devices, memory and disk. Imports torch only where a CUDA driver is there."""
    gpus: list[tuple[str, int, int]] = []
    if shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists() or Path("/dev/kfd").exists():
        import torch

        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            gpus.append((torch.cuda.get_device_name(index), total, free))
    existing = output.absolute()
    while not existing.exists():
        existing = existing.parent
    return Machine(
        gpus=tuple(gpus),
        host_bytes=host_memory(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        disk_bytes=shutil.disk_usage(existing).free,
    )


def inference_device() -> str:
    """Where a trained model is asked: the CUDA device if there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def choose_preset(config: Config) -> tuple[str, str]:
    """The preset that trains here, and why, in words."""
    if config.model.preset != "auto":
        return config.model.preset, text("workflow.preset_asked")
    import torch

    if torch.cuda.is_available():
        return "730m", text("workflow.preset_cuda")
    return "tiny", text("workflow.preset_cpu")


def choose_precision(config: Config) -> tuple[Precision, str]:
    """The mixed precision that trains here, and why, in words."""
    wanted = config.training.precision
    if wanted != "auto":
        return wanted, text("config.given")
    import torch

    if not torch.cuda.is_available():
        return "no", text("config.precision_cpu")
    if torch.cuda.is_bf16_supported():
        return "bf16", text("config.precision_bf16")
    return "no", text("config.precision_no_bf16")
