"""What follows where a training runs out of memory: a clear error, and the strategies by which it may go on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from redheart.config import Config, with_settings
from redheart.errors import OutOfMemory
from redheart.machine import find_gpus
from redheart.paths import OutputPaths
from redheart.plan.auto import choose_preset
from redheart.plan.choice import Plan
from redheart.workflow.examinations.plan import plan_training

if TYPE_CHECKING:
    from redheart.launching.command import GroupCommand
    from redheart.launching.outcome import Place
    from redheart.launching.strategies import StrategiesLeft
    from redheart.launching.verdict import Verdict

#: Where smaller pieces do not help, or no step was come to.
_GOES_ON = "goes on from the newest state by the plan's next strategy that needs less"


@contextlib.contextmanager
def told_of_memory(config: Config, *, is_alone: bool) -> Iterator[None]:
    """Whatever memory runs out for within it is an error of ours, that names what goes on by itself.

    Args:
        is_alone: no supervisor is there to start something else.

    Raises:
        OutOfMemory: in the stead of what libraries raise.
    """
    from redheart.batches.out_of_memory import MemoryFailure, is_out_of_memory

    try:
        yield
    except OutOfMemory as error:
        if not is_alone or error.memory is None:  # what is seen beforehand names its cure
            raise
        raise OutOfMemory(
            f"{error}. {_command(config)}", memory=error.memory, phase=error.phase, is_least=error.is_least
        ) from error
    except (RuntimeError, MemoryError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        failure = MemoryFailure.of(error, "")
        advice = f". {_command(config)}" if is_alone else ""
        raise OutOfMemory(
            f"out of {failure.memory} memory outside a step ({failure.message}){advice}", memory=failure.memory
        ) from error


def _command(config: Config) -> str:
    return f"`{OutputPaths(config.output).launch_command}` {_GOES_ON}"


def strategies_for(
    command: GroupCommand,
    config: Config,
    *,
    plan: Plan | None = None,
    make_plan: Callable[[Config], Plan] | None = None,
) -> StrategiesLeft:
    """What the training that ``command`` starts may go on by.

    Args:
        plan: by which it is started; None: as it was asked for.
        make_plan: of a configuration, on the hardware that it trains on; None: this machine.
    """
    from redheart.launching.strategies import StrategiesLeft

    recomputes = config.training.activation_checkpointing if plan is None else plan.taken.strategy.recomputes

    def plan_now(processes: int) -> Plan:
        settled = {"model.preset": choose_preset(config)[0]}
        cut = {"training.micro_batch_size": None, "training.gradient_accumulation_steps": None}
        asked = with_settings(config, {**settled, **cut})
        if make_plan is not None:
            return make_plan(asked)
        return plan_training(asked, gpus=processes if find_gpus() else None)

    return StrategiesLeft(command, recomputes=recomputes, make_plan=plan_now)


def ran_out_here(error: OutOfMemory, place: Place | None) -> Verdict:
    """What a supervisor would have found, of a training in this very process."""
    from redheart.launching.verdict import Verdict

    return Verdict("out_of_memory", OutOfMemory.exit_code, 0, str(error).splitlines()[0], place, error.memory)
