"""Facts of a run's memory: when it ran out, and the peaks; ``oom_stats.json``."""

from __future__ import annotations

from pathlib import Path

import msgspec

from redheart.paths import OutputPaths
from redheart.storage import read_struct


class OomEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Once that memory ran out: when, at which step, and with what the run went on.

    Attributes:
        time: in ISO 8601.
        micro_batch_size: situations in a piece; in the evaluation, of its batches.
        smaller_micro_batch_size: what was tried next; None: a single situation was too much.
        rank: the process that ran out; None in files of before, as all that follows.
        phase: ``forward``, ``backward``, ``optimizer`` or ``evaluation``.
        tried: with what the run went on, in words.
        device_bytes_before, device_bytes_after, host_bytes_before, host_bytes_after: allocated on the device and resident, when
            memory ran out and once it was given back; None without a device, or where the run ended.
    """

    time: str
    epoch: int
    global_step: int
    micro_batch_size: int
    smaller_micro_batch_size: int | None
    message: str
    rank: int | None = None
    phase: str | None = None
    tried: str | None = None
    device_bytes_before: int | None = None
    device_bytes_after: int | None = None
    host_bytes_before: int | None = None
    host_bytes_after: int | None = None


class OomStats(msgspec.Struct, frozen=True, kw_only=True):
    """``oom_stats.json``: what running out of memory did to a run, and the peaks of memory in bytes, None without a device."""

    count: int
    events: list[OomEvent]
    device: str
    final_micro_batch_size: int
    peak_device_bytes: int | None
    peak_host_bytes: int


def read_oom_stats(output: Path) -> OomStats:
    """What the run in ``output`` left.

    Raises:
        StorageError: it is missing or damaged.
    """
    return read_struct(OutputPaths(output).oom_stats, OomStats, fix="remove it: the next training writes it anew")
