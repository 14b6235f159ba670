"""A training that is interrupted from within, at a point and in a way that its order names; each process keeps a trail of its steps.

What runs is the command line as a user types it. The clock by which states are saved counts optimizer steps, so that what a kill
costs does not hang on how busy the machine is.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import torch

from redheart.batches.order import micro_batches
from redheart.cli.main import main
from redheart.engine import resume_files
from redheart.engine.accelerated import AcceleratedEngine
from redheart.model import UnifiedModel
from redheart.training import trainer
from redheart.training.callbacks.resume_states import ResumeStates
from redheart.training.loop import TrainingLoop
from redheart.training.saving import resume_state
from redheart.training.saving.resume_state import Position
from redheart.training.saving.snapshot import Snapshots
from tests.checkpoint.killed_at_each import count_operations

#: Who a signal goes to, beside the process at whose point it falls.
ITSELF, ALL, LAUNCHER = "itself", "all", "launcher"


class Interruption(msgspec.Struct, frozen=True):
    """What ends a start of the training before it is over.

    Attributes:
        way: the signal's name.
        to: whom it goes to.
        point: after an optimizer step (``step``), within the next one (``batch``), in the next evaluation (``validation``), or in
            front of a file operation of the next resume state (``save``) or of the next epoch's folder (``snapshot``).
        step: the optimizer step of the run, from 1, after which the point is awaited; 0: from the beginning.
        rank: the process whose point it is.
        operation: which file operation, from 0.
    """

    way: str
    to: str
    point: str
    step: int
    rank: int = 0
    operation: int = 0


class Order(msgspec.Struct, frozen=True):
    """A start: the command line, where the trail goes, and what ends it; ``control``: what is spoiled on going on."""

    command: list[str]
    trail: str
    interruption: Interruption | None = None
    control: str = ""
    is_launched: bool = False


class Trail:
    """Lines of what a process did, each of which a kill leaves whole: a start, or a step."""

    def __init__(self, path: str) -> None:
        self._file = os.open(
            f"{path}.{os.environ.get('RANK', '0')}.jsonl", os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o644
        )

    def add(self, **values: Any) -> None:
        os.write(self._file, f"{json.dumps(values)}\n".encode())


class Trigger:
    """Falls once, where its point is come to."""

    def __init__(self, planned: Interruption, *, is_launched: bool) -> None:
        self.planned, self._is_launched = planned, is_launched
        self.is_awaited = planned.step == 0
        self._operations_left: int | None = None
        self._has_fallen = False

    def step_done(self, step: int) -> None:
        self.is_awaited = step >= self.planned.step
        self.come_to("step")

    def come_to(self, point: str) -> None:
        if point == self.planned.point and self.is_awaited:
            self.fall()

    def begin(self, point: str) -> None:
        """What has file operations begins."""
        if point == self.planned.point and self.is_awaited and self._operations_left is None:
            self._operations_left = self.planned.operation

    def end(self, point: str) -> None:
        """It had fewer than were waited for."""
        if point == self.planned.point and self._operations_left is not None:
            self.fall()

    def operation(self) -> None:
        if self._operations_left is not None and not self._has_fallen:
            if self._operations_left == 0:
                self.fall()
            self._operations_left -= 1

    def fall(self) -> None:
        if self._has_fallen:
            return
        self._has_fallen = True
        number = signal.Signals[self.planned.way]
        for process in self._others():
            process.send_signal(number)
        if self.planned.to != LAUNCHER:
            os.kill(os.getpid(), number)

    def _others(self) -> list[psutil.Process]:
        if self.planned.to == ITSELF:
            return []
        parent = psutil.Process(os.getppid())
        if self.planned.to == LAUNCHER:
            return [parent]
        group = [one for one in parent.children() if one.pid != os.getpid()]
        return [parent, *group] if self._is_launched and _is_kill(self.planned.way) else group


def _is_kill(way: str) -> bool:
    """Whether no process can answer it: then the launcher goes too, which would otherwise end the rest."""
    return way == "SIGKILL"


def _wrap(owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    setattr(owner, name, make(getattr(owner, name)))


def _keep_trail(trail: Trail, trigger: Trigger | None, steps_taken: list[int]) -> None:
    """Each step: its ids – the batch's, and those of this process –, losses, norms; all that comes of them must be alike."""

    def with_trail(original: Callable[..., Any]) -> Callable[..., Any]:
        def step(self: TrainingLoop, *arguments: Any) -> Any:
            found = original(self, *arguments)
            own = [row for part in micro_batches(found.batch, self.engine.geometry, self.engine.rank) for row in part]
            trail.add(
                step=found.global_step,
                epoch=found.epoch,
                ids=[self.table.ids[row] for row in found.batch],
                own=[self.table.ids[row] for row in own],
                loss=found.loss,
                terms=found.terms,
                rate=found.learning_rate,
                norm=found.gradient_norm,
                verdict=asdict(found.verdict),
            )
            steps_taken[0] += 1
            if trigger is not None:
                trigger.step_done(found.global_step)
            return found

        return step

    _wrap(TrainingLoop, "_step", with_trail)


def _watch(trigger: Trigger) -> None:
    """Has the trigger told of the points that a training comes to."""

    def with_points(original: Callable[..., Any]) -> Callable[..., Any]:
        def forward(self: UnifiedModel, *arguments: Any) -> Any:
            trigger.come_to("batch" if self.training else "validation")
            return original(self, *arguments)

        return forward

    def around(point: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            def work(*arguments: Any, **options: Any) -> Any:
                trigger.begin(point)
                found = original(*arguments, **options)
                if point == "save":  # what a snapshot writes goes on meanwhile
                    trigger.end(point)
                return found

            return work

        return make

    def until_published(original: Callable[..., Any]) -> Callable[..., Any]:
        def wait(self: Snapshots, *arguments: Any, **options: Any) -> None:
            is_pending = self._pending is not None
            original(self, *arguments, **options)
            if is_pending:
                trigger.end("snapshot")

        return wait

    _wrap(UnifiedModel, "forward", with_points)
    _wrap(resume_state, "save_resume_state", around("save"))
    _wrap(Snapshots, "begin", around("snapshot"))
    _wrap(Snapshots, "wait", until_published)


def _spoil(control: str) -> None:
    """What going on is like where something is not brought back."""
    if control == "moments":

        def without_moments(original: Callable[..., Any]) -> Callable[..., Any]:
            def load_state(self: AcceleratedEngine, *arguments: Any) -> None:
                original(self, *arguments)
                for of_one in self.optimizer_state().values():
                    of_one["exp_avg"].zero_()

            return load_state

        _wrap(AcceleratedEngine, "load_state", without_moments)
    elif control == "batches":
        load = trainer.load_progress

        def one_further(*arguments: Any) -> Position:
            found = load(*arguments)
            return Position(found.epoch, found.batches_done + 1)

        trainer.load_progress = one_further
    elif control == "sums":
        trainer.load_kept = lambda *_: {}
    elif control == "generators":
        resume_files._set_random_state = lambda found: None
    elif control == "draws":
        torch.manual_seed = lambda seed: torch.default_generator


def perform(order: Order) -> int:
    """The command, with a trail, and with what ends it; its exit code."""
    torch.set_num_threads(1)
    output = Path(order.command[order.command.index("--output") + 1])
    # Nobody seeds these: whoever goes on from a state has to take up those of the process that saved it.
    seed = os.getpid() if any((output / "checkpoints" / "resume").glob("state_*")) else 1
    random.seed(seed)
    np.random.seed(seed)
    os.fsync = lambda descriptor: None  # what a killed process wrote is not lost: the machine lives on
    trail, steps_taken = Trail(order.trail), [0]
    trail.add(start=os.getpid())
    initialise = ResumeStates.__init__

    def by_steps(self: ResumeStates, *arguments: Any, **options: Any) -> None:
        initialise(self, *arguments, **{**options, "clock": lambda: 60.0 * steps_taken[0]})

    ResumeStates.__init__ = by_steps  # type: ignore[method-assign]
    trigger = None
    if order.interruption is not None and int(os.environ.get("RANK", "0")) == order.interruption.rank:
        trigger = Trigger(order.interruption, is_launched=order.is_launched)
        _watch(trigger)
        count_operations(output / "checkpoints", trigger.operation)
    _keep_trail(trail, trigger, steps_taken)
    _spoil(order.control)
    return main(order.command)


if __name__ == "__main__":
    sys.exit(perform(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Order)))
