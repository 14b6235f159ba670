"""What a training goes on by where a strategy ran out of memory: told by its launch file, chosen by the plan, said and noted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from redheart.errors import ConfigError, OutOfMemory
from redheart.facts.launches import read_launches
from redheart.launching import strategies
from redheart.launching.command import GroupCommand
from redheart.launching.launch_file import find_launch_file
from redheart.launching.strategies import Start, StrategiesLeft, strategy_of
from redheart.launching.supervisor import Supervisor
from redheart.machine import GIB, Gpu
from redheart.plan.choice import Plan
from redheart.plan.strategies import STRATEGIES, Strategy
from tests.launching.stand_ins import StandIn
from tests.plan.test_choice import plan


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategies, "find_gpus", lambda: (Gpu("card", 8 * GIB, 8 * GIB),))


def left(command: GroupCommand, made: Callable[[int], Plan], *, recomputes: bool = False) -> StrategiesLeft:
    return StrategiesLeft(command, recomputes=recomputes, make_plan=made)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda one: one.full_name)
def test_each_launch_file_tells_its_strategy(strategy: Strategy) -> None:
    processes = 1 if strategy.kind == "plain" else 2
    for on_gpu in (True, False):
        file = strategy.launch_file(on_gpu=on_gpu)
        # As it is on a machine with GPUs; here the file for them is refused.
        command = GroupCommand(processes, None if file is None else find_launch_file(file), ("train",))
        assert strategy_of(command, recomputes=strategy.recomputes) == strategy


def test_files_that_tell_of_no_strategy_that_is_known_leave_nothing_to_go_on_by(tmp_path: Path) -> None:
    for number, json in enumerate(
        ("{}", '{"zero_optimization": {"stage": 0}}', '{"zero_optimization": []}', "[", None)
    ):
        file = tmp_path / f"{number}.yaml"
        file.write_text(
            f"distributed_type: DEEPSPEED\nnum_processes: 2\ndeepspeed_config: {{deepspeed_config_file: {tmp_path / 'a.json'}}}"
        )
        (tmp_path / "a.json").write_text(json) if json is not None else (tmp_path / "a.json").unlink()
        found = left(GroupCommand.of(["train"], launch_file=str(file)), lambda _: pytest.fail("planned"))
        assert found.name == file.name and found.after("device", has_begun=True) is None


def test_a_card_on_which_plain_failed_goes_on_with_what_offloads(cards: None) -> None:
    given = GroupCommand.of(["train", "training.micro_batch_size=64"])
    found = left(given, lambda _: plan(1, 24, 64))
    start = found.after("device", has_begun=True)
    assert start is not None and start.command == given
    assert start.overrides == (
        "training.micro_batch_size=64",
        "training.gradient_accumulation_steps=null",
        "training.activation_checkpointing=true",
    )
    again = found.after(None, has_begun=True)  # it could not say which: the card's
    assert again is not None and again.command.launch_file is not None
    assert (again.command.launch_file.name, again.command.processes) == ("zero2_offload.yaml", 1)
    assert again.command.arguments == given.arguments
    assert "training.activation_checkpointing=false" in again.overrides
    assert found.tried == ["plain", "plain with activation checkpointing"] and found.name == again.name


def test_a_batch_that_can_not_be_shared_leaves_nothing() -> None:
    def refuses(processes: int) -> Plan:
        assert processes == 3
        raise ConfigError("can't be shared")

    assert left(GroupCommand.of(["train"], processes=3), refuses).after("host", has_begun=True) is None


class Others:
    """Strategies after which comes what a test says."""

    def __init__(self, *starts: Start) -> None:
        self.name, self._starts, self.tried = "ZeRO-2", list(starts), ["ZeRO-2"]
        self.asked: list[tuple[Any, bool]] = []

    def after(self, memory: Any, *, has_begun: bool) -> Start | None:
        self.asked.append((memory, has_begun))
        if not self._starts:
            return None
        start = self._starts.pop(0)
        self.name = start.name
        self.tried.append(start.name)
        return start


def supervise(stand_in: StandIn, others: Others) -> None:
    Supervisor(stand_in, stand_in.folder, grace=0.3, strategies=others).run()  # type: ignore[arg-type]


def alone(folder: Path, program: str, *overrides: str) -> tuple[StandIn, Start]:
    stand_in = StandIn(folder, program, processes=1)
    return stand_in, Start(stand_in, overrides, "plain", 8)  # type: ignore[arg-type]


def test_with_a_micro_batch_of_one_it_goes_on_by_the_next_strategy_in_as_many_processes_as_that_takes(
    tmp_path: Path,
) -> None:
    setting = "training.activation_checkpointing=true"
    one, start = alone(tmp_path, "serve()\nif start == 1: short(8, 4)", setting)
    others = Others(start)
    two = StandIn(tmp_path, "serve()\nshort(1, None) if rank == 1 else hang()")
    supervise(two, others)
    assert (two.lines, others.asked) == ([[]], [("device", True)])
    cut = ["training.micro_batch_size=4", "training.gradient_accumulation_steps=null"]
    assert one.lines == [[setting], [setting, *cut]], "what is halved then is halved by that strategy"
    first, second = read_launches(tmp_path).events
    assert (first.strategy, first.next_strategy, first.next_micro_batch_size) == ("ZeRO-2", "plain", 8)
    assert (first.is_again, first.memory, first.processes) == (True, "device", 2)
    assert (second.strategy, second.next_strategy, second.smaller_micro_batch_size) == ("plain", None, 4)


def test_what_runs_out_before_the_first_step_goes_on_by_the_next_strategy_too(tmp_path: Path) -> None:
    one, start = alone(tmp_path, "serve()")
    others = Others(start)
    supervise(StandIn(tmp_path, "serve()\nraise MemoryError"), others)
    assert len(one.lines) == 1 and others.asked == [("host", False)]


def test_where_nothing_is_left_it_ends_with_what_was_tried(tmp_path: Path) -> None:
    _, start = alone(tmp_path, "serve()\nshort(1, None)")
    with pytest.raises(OutOfMemory, match=r"at step 7: no room for 2 GiB; tried: ZeRO-2, plain; .*model\.preset"):
        supervise(StandIn(tmp_path, "serve()\nshort(1, None) if rank == 1 else hang()"), Others(start))
    assert [event.is_again for event in read_launches(tmp_path).events] == [True, False]
