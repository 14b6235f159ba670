"""A training, phase by phase: how long each takes, and the memory of device and host that it peaks at.

``python -m benchmarks.training_phases RESULT train --preset small …`` runs ``redheart train`` with these options in this process
and leaves ``RESULT``, a JSON file; a launcher starts it as it starts ``redheart``: ``accelerate launch … -m benchmarks.training_phases``.
The phases lie about the training's own methods from the outside, so what is measured is what users run. Of several processes the
first is measured.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import msgspec
import torch

from redheart.storage import write_json


class Phase(msgspec.Struct):
    """All calls of one phase together.

    Attributes:
        seconds: of all calls; ``longest`` and ``shortest`` of one that ended.
        device_bytes: most that was allocated on the device at any time of it; None without one.
        host_bytes: most resident memory of this process at any time of it; None where the system does not tell.
    """

    calls: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    shortest: float | None = None
    device_bytes: int | None = None
    host_bytes: int | None = None


class Phases(msgspec.Struct):
    """``RESULT``: the phases in the order of their first call, and the process before the first of them.

    It is written anew after each new phase, so a training that is ended leaves what it came to.
    """

    device_before: int | None
    host_before: int | None
    phases: dict[str, Phase]


def device_peak() -> int | None:
    """Most bytes allocated on the device since the last ``forget_peaks``, all waiting work done."""
    if not torch.cuda.is_available():
        return None
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def host_peak() -> int | None:
    """Most resident bytes of this process since the last ``forget_peaks`` (Linux: ``VmHWM`` of ``/proc/self/status``)."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None


def forget_peaks() -> None:
    """Peaks count from here."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak of resident memory


class Watch:
    """What the phases came to so far. A phase within another counts in both; its peaks are the outer one's too."""

    def __init__(self, result: Path | None = None) -> None:
        forget_peaks()
        self.found = Phases(device_peak(), host_peak(), {})
        self.result = result
        self._open: list[str] = []

    @property
    def phases(self) -> dict[str, Phase]:
        return self.found.phases

    def store(self) -> None:
        """Writes what there is so far, if there is a place for it."""
        if self.result is not None:
            write_json(self.result, self.found)

    def _note_peaks(self) -> None:
        device, host = device_peak(), host_peak()
        for name in self._open:
            phase = self.phases[name]
            phase.device_bytes = max(phase.device_bytes or 0, device) if device is not None else None
            phase.host_bytes = max(phase.host_bytes or 0, host) if host is not None else None
        forget_peaks()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Counts what runs inside."""
        self._note_peaks()  # what came before belongs to those that are open already
        phase = self.phases.setdefault(name, Phase())
        self._open.append(name)
        began = time.perf_counter()
        try:
            yield
        finally:
            self._note_peaks()
            took = time.perf_counter() - began
            self._open.remove(name)
            phase.calls += 1
            phase.seconds += took
            phase.longest = max(phase.longest, took)
            phase.shortest = min(phase.shortest or took, took)
            if phase.calls == 1:
                self.store()

    def around(self, owner: type, method: str, name: str) -> None:
        """Makes each call of a method a phase; its own time is the device's too, which is waited for at both ends."""
        inner: Callable[..., Any] = getattr(owner, method)

        @wraps(inner)
        def outer(*arguments: Any, **named: Any) -> Any:
            with self.phase(name):
                return inner(*arguments, **named)

        setattr(owner, method, outer)


def watch_training(watch: Watch) -> None:
    """Puts the phases about a training's own methods."""
    from redheart.engine.accelerated import AcceleratedEngine
    from redheart.training.callbacks.epoch_checkpoints import EpochCheckpoints
    from redheart.training.callbacks.resume_states import ResumeStates
    from redheart.training.callbacks.run import Run
    from redheart.training.callbacks.start import StartCheckpoint
    from redheart.training.loop import TrainingLoop
    from redheart.training.trainer import Trainer

    for owner, method, name in (
        (Trainer, "_build_model", "model"),
        (AcceleratedEngine, "prepare", "prepared"),
        (StartCheckpoint, "before_run", "start"),
        (TrainingLoop, "_step", "step"),
        (Run, "evaluate", "evaluation"),
        (EpochCheckpoints, "after_epoch", "snapshot"),
        (ResumeStates, "after_epoch", "state"),
    ):
        watch.around(owner, method, name)


def main(words: Sequence[str]) -> int:
    """Runs a command of ``redheart`` with its training watched; returns the command's exit code."""
    from redheart.cli.main import main as redheart
    from redheart.engine.launch_variables import is_first_process

    result, *command = words
    watch = Watch(Path(result) if is_first_process() else None)
    watch_training(watch)
    code = redheart(command)
    watch.store()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
