"""Out-of-memory errors: which they are, a run's events and its peak memory, kept for ``oom_stats/oom_stats.json``."""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import torch

from redheart.facts.memory import OomEvent, OomStats, read_oom_stats
from redheart.paths import OutputPaths
from redheart.storage import write_json

_HOST_MESSAGES = ("can't allocate memory", "not enough memory", "DefaultCPUAllocator")
_DEVICE_MESSAGES = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that device or host memory is used up."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return any(message in str(error) for message in _HOST_MESSAGES + _DEVICE_MESSAGES)


@dataclass
class OomLog:
    """Events in order; written whole at the end of a run, empty if nothing happened.

    Attributes:
        has_new: something happened since this process started.
    """

    events: list[OomEvent] = field(default_factory=list)
    has_new: bool = False

    def record(self, *, epoch: int, step: int, micro_batch_size: int, smaller: int | None, message: str) -> None:
        self.has_new = True
        self.events.append(
            OomEvent(
                time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
                epoch=epoch,
                global_step=step,
                micro_batch_size=micro_batch_size,
                smaller_micro_batch_size=smaller,
                message=message,
            )
        )

    def read(self, output: Path) -> None:
        """Takes up the events of a run that is gone on with."""
        if OutputPaths(output).oom_stats.exists():
            self.events = read_oom_stats(output).events

    def write(self, output: Path, *, device: str, micro_batch_size: int) -> Path:
        """Writes ``oom_stats/oom_stats.json`` with the peaks of memory so far."""
        path = OutputPaths(output).oom_stats
        # ru_maxrss is in kilobytes on Linux and in bytes on macOS.
        unit = 1 if sys.platform == "darwin" else 1024
        stats = OomStats(
            count=len(self.events),
            events=self.events,
            device=device,
            final_micro_batch_size=micro_batch_size,
            peak_device_bytes=torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
            peak_host_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        )
        write_json(path, stats)
        return path
