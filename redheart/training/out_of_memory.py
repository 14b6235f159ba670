"""Out-of-memory events of a run and its peak memory, kept for ``oom_stats/oom_stats.json``."""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

import torch

from redheart.batches.out_of_memory import MemoryFailure, MemoryInUse, give_back_memory, is_out_of_memory
from redheart.engine.contract import Engine
from redheart.facts.memory import OomEvent, OomStats, read_oom_stats
from redheart.paths import OutputPaths
from redheart.storage import write_json

__all__ = ["Happened", "OomLog", "is_out_of_memory"]


class Happened(NamedTuple):
    """Where a run was when memory ran out, and what it goes on with; None: it ends."""

    epoch: int
    step: int
    size: int
    smaller: int | None


@dataclass
class OomLog:
    """Events in order; written whole at the end of a run, empty if nothing happened.

    Attributes:
        has_new: something happened since this process started.
    """

    events: list[OomEvent] = field(default_factory=list)
    has_new: bool = False

    def record(
        self,
        failure: MemoryFailure,
        happened: Happened,
        *,
        rank: int,
        after: MemoryInUse | None = None,
        is_new: bool = True,
        ends: bool = False,
    ) -> None:
        """Keeps one event.

        Args:
            after: what was in use once memory was given back.
            is_new: this process is to write it down.
            ends: this process ends, whatever would be smaller.
        """
        self.has_new = self.has_new or is_new
        self.events.append(
            OomEvent(
                time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
                epoch=happened.epoch,
                global_step=happened.step,
                micro_batch_size=happened.size,
                smaller_micro_batch_size=happened.smaller,
                message=failure.message,
                rank=rank,
                phase=failure.phase,
                tried=_tried(happened.smaller, ends=ends),
                device_bytes_before=failure.before.device,
                device_bytes_after=None if after is None else after.device,
                host_bytes_before=failure.before.host,
                host_bytes_after=None if after is None else after.host,
            )
        )

    def record_together(self, failure: MemoryFailure | None, happened: Happened, engine: Engine) -> MemoryFailure:
        """Gives memory back and keeps the events of all processes on each, for the main one to write; the first one's failure.

        Collective.

        Args:
            failure: this process's; None: it was another one's.
        """
        told = engine.gather_objects((failure, give_back_memory()))
        failures = [(rank, one, after) for rank, (one, after) in enumerate(told) if one is not None]
        for rank, one, after in failures:
            self.record(one, happened, rank=rank, after=after, is_new=engine.is_main)
        first: MemoryFailure = failures[0][1]
        return first

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


def _tried(smaller: int | None, *, ends: bool) -> str:
    if smaller is None:
        return "the run ends"
    return "the process ends, to be started again in smaller pieces" if ends else "the same again in smaller pieces"
