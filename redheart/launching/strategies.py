"""The strategies by which a training may be started: the one that it began with, and what is left once that has run out of memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from redheart.errors import ConfigError, Memory
from redheart.launching.command import GroupCommand
from redheart.launching.launch_file import find_data_file, read_launch_file
from redheart.machine import find_gpus
from redheart.plan.choice import Plan
from redheart.plan.fallback import Shortage, next_row
from redheart.plan.strategies import STRATEGIES, Strategy


@dataclass(frozen=True)
class Start:
    """How a group is started by a strategy: the command, what it has to say besides, and what it is called."""

    command: GroupCommand
    overrides: tuple[str, ...]
    name: str
    micro_batch_size: int


class StrategiesLeft:
    """What a training goes on by, as one strategy after another runs out of memory.

    Args:
        command: by which it is started first.
        recomputes: whether activation checkpointing is on there.
        make_plan: the plan of the training at the moment that it is asked for, with the cut of the batch left open.
    """

    def __init__(self, command: GroupCommand, *, recomputes: bool, make_plan: Callable[[int], Plan]) -> None:
        self._command, self._make_plan = command, make_plan
        self._strategy = strategy_of(command, recomputes=recomputes)
        self._failed: list[Shortage] = []

    @property
    def name(self) -> str:
        """Of the strategy that it is started by."""
        if self._strategy is not None:
            return self._strategy.full_name
        return "–" if self._command.launch_file is None else self._command.launch_file.name

    @property
    def tried(self) -> Sequence[str]:
        """Those that ran out of memory, in order."""
        return [one.strategy.full_name for one in self._failed]

    def after(self, memory: Memory | None, *, has_begun: bool) -> Start | None:
        """What comes next; None: nothing that is known needs less.

        Args:
            memory: that ran out; None: not known, and then that of the device where there is one.
            has_begun: a step had been begun.
        """
        if self._strategy is None:
            return None
        try:
            plan = self._make_plan(self._command.processes)
        except ConfigError:  # the batch can't be shared by what there is
            return None
        has_gpu = plan.hardware.has_gpu
        ran_out: Memory = "host" if not has_gpu or memory == "host" else "device"
        self._failed.append(Shortage(self._strategy, self._command.processes, ran_out, has_begun))
        row = next_row(plan, self._failed)
        if row is None:
            return None
        launch_file = row.strategy.launch_file(on_gpu=bool(find_gpus()))
        self._command = GroupCommand.of(self._command.arguments, launch_file=launch_file, processes=row.job.processes)
        self._strategy = row.strategy
        overrides = (
            f"training.micro_batch_size={row.job.micro_batch}",
            # The number of steps that are accumulated follows from it, whatever was asked for.
            "training.gradient_accumulation_steps=null",
            f"training.activation_checkpointing={str(row.strategy.recomputes).lower()}",
        )
        return Start(self._command, overrides, self.name, row.job.micro_batch)


def strategy_of(command: GroupCommand, *, recomputes: bool) -> Strategy | None:
    """What a command starts; None: a launch file of one's own that tells of none that is known."""
    if command.launch_file is None:
        return Strategy("ddp" if command.processes > 1 else "plain", recomputes=recomputes)
    found = read_launch_file(command.launch_file)
    if found.distributed_type.upper() != "DEEPSPEED":
        return Strategy("ddp" if command.processes > 1 else "plain", recomputes=recomputes)
    return strategy_of_file(find_data_file(found.deepspeed_config.deepspeed_config_file or ""), recomputes=recomputes)


def strategy_of_file(file: Path, *, recomputes: bool) -> Strategy | None:
    """What DeepSpeed's configuration says; None: nothing that is known."""
    try:
        zero = json.loads(file.read_text(encoding="utf-8"))["zero_optimization"]
        wanted = (f"zero{zero['stage']}", *(_is_offloaded(zero, of) for of in ("optimizer", "param")), recomputes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # the processes say what is wrong with it
        return None
    return next((one for one in STRATEGIES if _as_tuple(one) == wanted), None)


def _is_offloaded(zero: dict[str, dict[str, str]], of: str) -> bool:
    return zero.get(f"offload_{of}", {}).get("device", "none") != "none"


def _as_tuple(one: Strategy) -> tuple[str, bool, bool, bool]:
    return one.kind, one.offloads_optimizer, one.offloads_parameters, one.recomputes
