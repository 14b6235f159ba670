"""NOT a trial: a stand-in for ``TrialRunner`` where 25 real trainings would take too long to test concurrency.

It is given to workers by name, through the one seam made for it (``run_sweep(runner=...)``). What it does besides
returning a loss is asked for by files in the dataset's folder, because it runs in other processes:
``seconds`` – how long a trial takes; ``fail`` – learning rates whose trial raises; ``short`` – whose
memory does not suffice; ``diverge_above`` – a learning rate.
Each start of a trial is a line in ``started``.
"""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redheart.config import Config
from redheart.errors import Interrupted, OutOfMemory

BEST = 2.0e-4


def fake_loss(learning_rate: float, seed: int) -> float:
    """A valley in log LR with noise that is a function of its arguments."""
    noise = random.Random(f"{learning_rate!r} {seed}").gauss(0.0, 0.004)
    return 0.5 + 0.08 * math.log10(learning_rate / BEST) ** 2 + noise


@dataclass
class FakeOutcome:
    val_loss: float | None
    train_loss: float | None
    accuracy: float | None
    diverged: bool
    seconds: float
    choose_count: int = 1234
    train_count: int = 1000
    gradient_norm: float | None = 1.5
    curve: list[dict[str, Any]] = field(default_factory=list)


class FakeRunner:
    def __init__(self, config: Config, dataset: Path) -> None:
        self.folder = dataset.parent

    def _asked(self, name: str, default: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else default

    def run(
        self, *, learning_rate: float, seed: int, should_stop: Callable[[], bool], heartbeat: Callable[[], None]
    ) -> FakeOutcome:
        with open(self.folder / "started", "a") as log:
            log.write(f"{learning_rate!r} {seed} {os.getpid()}\n")
        if repr(learning_rate) in self._asked("fail", "").split():
            raise RuntimeError(f"the fake trial fails at {learning_rate!r} as it was asked to")
        if repr(learning_rate) in self._asked("short", "").split():
            raise OutOfMemory("no room for a single situation", memory="host")
        seconds = float(self._asked("seconds", "0.05"))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if should_stop():
                raise Interrupted("the fake trial was stopped")
            heartbeat()
            time.sleep(min(0.02, seconds))
        loss = fake_loss(learning_rate, seed)
        if learning_rate > float(self._asked("diverge_above", "inf")):
            return FakeOutcome(float("nan"), None, None, False, seconds)
        curve = [{"epoch": 1, "val_loss": loss, "train_loss": loss * 0.9}]
        return FakeOutcome(loss, loss * 0.9, 0.4, False, seconds, curve=curve)
