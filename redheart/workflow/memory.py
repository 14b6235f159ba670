"""What follows where a training runs out of memory: a clear error, and the strategies by which it may go on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from redheart.config import Config, with_settings
from redheart.errors import Interrupted, OutOfMemory, RedHeartError, StorageError
from redheart.machine import capacity, find_gpus, processor_name
from redheart.messages import info, warn
from redheart.model.parameters import count_parameters
from redheart.paths import OutputPaths
from redheart.plan.auto import choose_preset
from redheart.plan.choice import Plan
from redheart.plan.remembered import Key, recall, remember
from redheart.plan.strategies import Strategy
from redheart.storage import Scalar
from redheart.workflow.examinations.plan import plan_training

if TYPE_CHECKING:
    from redheart.launching.command import GroupCommand
    from redheart.launching.outcome import Place
    from redheart.launching.strategies import StrategiesLeft
    from redheart.launching.verdict import Verdict
    from redheart.training.callbacks.run import Run

#: Where smaller pieces do not help, or no step was come to.
_GOES_ON = "goes on from the newest state by the plan's next strategy that needs less"

#: Of a GPU's usable memory, what an estimate has to come to before it pays to try.
_NEAR = 0.6


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


def key_of_plan(plan: Plan, output: Path, *, segments: int | None) -> Key:
    """What the cut of a planned training hangs on, on this machine.

    Args:
        segments: of the longest situation; None: not known yet.
    """
    request, row = plan.request, plan.taken
    return _key(
        output,
        preset=request.preset,
        precision=request.precision,
        d_embed=request.d_embed,
        global_batch_size=request.global_batch,
        processes=row.job.processes,
        strategy=row.strategy,
        segments=segments,
    )


def key_of_run(run: Run, preset: str) -> Key:
    """What the cut of a run hangs on, by what holds it."""
    from redheart.engine.launch_variables import deepspeed_config_file
    from redheart.launching.strategies import strategy_of_file

    engine, training = run.engine, run.engine.config.training
    recomputes, dataset = training.activation_checkpointing, run.loop.table.dataset
    if engine.shards_state and (file := deepspeed_config_file()) is not None:
        strategy = strategy_of_file(file, recomputes=recomputes)
    else:
        strategy = Strategy("ddp" if engine.world_size > 1 else "plain", recomputes=recomputes)
    return _key(
        Path(run.config.output),
        preset=preset,
        precision=engine.precision,
        d_embed=run.loop.table.d_embed,
        global_batch_size=training.global_batch_size,
        processes=engine.world_size,
        strategy=strategy,
        segments=int(dataset.counts.max()),
    )


def _key(output: Path, *, strategy: Strategy | None, preset: str, d_embed: int, **facts: Any) -> Key:
    machine = capacity(output)
    smallest = min(machine.gpus, key=lambda gpu: gpu.total_bytes, default=None)
    return Key(
        preset=preset,
        parameters=count_parameters(preset, d_embed).total,
        device=processor_name() if smallest is None else smallest.name,
        memory=(machine.host_bytes if smallest is None else smallest.total_bytes) >> 20,
        d_embed=d_embed,
        strategy="–" if strategy is None else strategy.full_name,
        **facts,
    )


def first_cut(
    plan: Plan, config: Config, *, segments: int | None = None, should_stop: Callable[[], bool] = lambda: False
) -> int:
    """The micro-batch to begin with: what the plan finds to fit, or less, where the run in the output folder was cut into less, or a
    larger one is known to have failed. Says so.

    Args:
        segments: of the longest situation; None: not known yet.

    Raises:
        Interrupted: asked to stop while it was tried what fits.
    """
    planned, output = plan.taken.job.micro_batch, Path(config.output)
    share = planned * plan.taken.job.passes
    size = planned
    key = key_of_plan(plan, output, segments=segments)
    if (found := recall(key)) is not None:
        remembered, path = found
        if remembered < size and share % remembered == 0:
            info("plan.recalled", size=remembered, planned=planned, path=path)
            size = remembered
    elif _is_to_be_probed(plan, config):
        size = _probed(plan, config, msgspec.structs.replace(key, segments=plan.request.segments), should_stop)
    before = _cut_of_run(plan, output)
    if before is not None and before < size and share % before == 0:
        info("plan.cut_as_before", size=before, planned=size)
        size = before
    return size


def _is_to_be_probed(plan: Plan, config: Config) -> bool:
    """Where it is asked for, or on a GPU that is here and that the estimate comes near to."""
    asked, hardware = config.training.probe_memory, plan.hardware
    if asked is not None:
        return asked
    near = plan.taken.estimate.device.total > _NEAR * hardware.usable_gpu_bytes
    return hardware.has_gpu and near and bool(find_gpus())


def _probed(plan: Plan, config: Config, key: Key, should_stop: Callable[[], bool]) -> int:
    """The largest micro-batch that came through steps on made-up situations; it is remembered. What fails otherwise is a warning."""
    from redheart.probe.largest import largest_that_fits

    request, row = plan.request, plan.taken
    settled: dict[str, Scalar] = {
        "model.preset": request.preset,
        "training.precision": request.precision,
        "training.micro_batch_size": row.job.micro_batch,
        "training.activation_checkpointing": row.strategy.recomputes,
    }
    info("plan.probing", size=row.job.micro_batch, segments=request.segments)
    try:
        found = largest_that_fits(
            with_settings(config, settled),
            launch_file=row.strategy.launch_file(on_gpu=bool(find_gpus())),
            processes=row.job.processes,
            segments=request.segments,
            d_embed=request.d_embed,
            should_stop=should_stop,
        )
    except (RedHeartError, OSError) as error:
        if isinstance(error, Interrupted):
            raise
        warn("plan.probe_failed", reason=error)
        return row.job.micro_batch
    if found is None:  # the training finds the same, and goes on by another strategy
        warn("plan.probe_short")
        return 1
    info("plan.probed", size=found, planned=row.job.micro_batch)
    remember(key, found)
    return found


def _cut_of_run(plan: Plan, output: Path) -> int | None:
    """Of the unfinished run there, where it is started by this strategy as it was; a plain one is cut as its state says."""
    from redheart.training.run_folder import read_run

    try:
        there = read_run(output)
    except StorageError:  # the training says what is wrong with it
        return None
    strategy, job = plan.taken.strategy, plan.taken.job
    kind = "plain" if strategy.kind == "ddp" else strategy.kind
    if (
        there is None
        or there.finished
        or strategy.kind == "plain"
        or (there.engine, there.world_size) != (kind, job.processes)
    ):
        return None
    return there.micro_batch_size


def ran_out_here(error: OutOfMemory, place: Place | None) -> Verdict:
    """What a supervisor would have found, of a training in this very process."""
    from redheart.launching.verdict import Verdict

    return Verdict("out_of_memory", OutOfMemory.exit_code, 0, str(error).splitlines()[0], place, error.memory)
