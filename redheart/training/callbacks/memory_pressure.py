"""Memory that is nearly used up, said before it runs out: an allocator that had to empty its cache, and a process that is swapped out."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from redheart.messages import warn
from redheart.training.callbacks.callback import Callback
from redheart.training.callbacks.run import Run
from redheart.training.step_result import Step

_LOOKS_EVERY = 5.0
#: Bytes of this process that may go to swap before it is told: what is never used again goes there on a machine that is busy.
_SWAPPED = 64 << 20
_STATUS = Path("/proc/self/status")


class MemoryPressure(Callback):
    """On the main process, each once a run."""

    def __init__(self) -> None:
        self._looked = -_LOOKS_EVERY
        self._retries, self._swapped = 0, 0
        self._says_retries = self._says_swap = True

    def before_run(self, run: Run, kept: object) -> None:
        self._retries, self._swapped = alloc_retries(), swapped()

    def after_step(self, run: Run, step: Step) -> None:
        now = time.monotonic()
        if not run.engine.is_main or now - self._looked < _LOOKS_EVERY:
            return
        self._looked = now
        size = run.engine.geometry.micro_batch_size
        if self._says_retries and (count := alloc_retries() - self._retries) > 0:
            self._says_retries = False
            warn("training.alloc_retries", count=count, size=size)
        if self._says_swap and (grown := swapped() - self._swapped) > _SWAPPED:
            self._says_swap = False
            warn("training.swapping", mib=grown >> 20)


def alloc_retries() -> int:
    """How often the device's allocator found no room, gave its cache back, and tried again; each waits for the device."""
    if not torch.cuda.is_available():
        return 0
    return int(torch.cuda.memory_stats().get("num_alloc_retries", 0))


def swapped() -> int:
    """Bytes of this process that lie on a disk; 0 where the system does not tell."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmSwap:")), 0)
