"""Where a run is, and going on from there: the engine's state, the loop's counters, the sums, and what monitor and
liveness probe have seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from safetensors.torch import load_file, save_file

from redheart.checkpoint import Manifest, ResumeState, newest_resume_state, save_resume_state
from redheart.checkpoint.restore import check_same_model
from redheart.engine.engine import Engine
from redheart.errors import ConfigError, StorageError
from redheart.health.liveness import LivenessProbe, LivenessState
from redheart.health.update_monitor import UpdateMonitor
from redheart.health.weight_changes import ChangesState
from redheart.messages import info, warn
from redheart.model.presets import ModelDimensions
from redheart.training.epoch_sums import EpochSums
from redheart.training.loop import TrainingLoop

_MONITOR = "monitor.safetensors"
_LIVENESS = "liveness.safetensors"


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run was when its resume state was written.

    Attributes:
        epoch: the epoch under way, 1-based; ``batches_done``: its batches that are done.
        sums: over them.
        monitor, liveness: what watches the weights beside the tensors that it keeps; ``liveness`` None: its steps are over.
        engine, world_size: what the engine's files were written by.
        manifest: what a checkpoint made of this state would say of itself.
        shapes: of the weights by name; None in a state of before they were kept.
    """

    run: str
    epoch: int
    batches_done: int
    global_step: int
    nonfinite_in_a_row: int
    sums: EpochSums
    monitor: ChangesState
    liveness: LivenessState | None = None
    engine: str
    world_size: int
    manifest: Manifest
    shapes: dict[str, list[int]] | None = None


@dataclass(frozen=True)
class Progress:
    """The epoch that is under way (1-based), its batches that are done, and the sums over them."""

    epoch: int = 1
    batches_done: int = 0
    sums: EpochSums = field(default_factory=EpochSums)


def newest_state(output: Path, run: str, engine: Engine, shape: ModelDimensions) -> ResumeState[Cursor] | None:
    """The newest valid state of ``run``, if there is one; says which were passed over.

    Args:
        shape: of the model that goes on.

    Raises:
        ConfigError: it is sharded for other processes than these, or is of a model of another shape: another version's.
    """
    state, reasons = newest_resume_state(output, Cursor)
    for reason in reasons:
        warn("training.resume_passed_over", reason=reason)
    if state is None or state.cursor.run != run:
        return None
    was, world = state.cursor.engine, state.cursor.world_size
    # ZeRO's optimizer state is cut by the number of processes; a plain one is whole and fits any number.
    if was != engine.kind or (was != "plain" and world != engine.world_size):
        raise ConfigError(
            f"{state.path}: this run was stopped under {was} with {world} processes, and can't go on under "
            f"{engine.kind} with {engine.world_size}: start it as before, or anew with --force"
        )
    check_same_model(state.cursor.manifest, state.path, shape, "this run (--force starts it anew)")
    return state


def _check_tensors(state: ResumeState[Cursor], engine: Engine) -> None:
    """Before the engine reads: under ZeRO what lies there is cut and flattened, and fails to fit as a raw number's count.

    Raises:
        StorageError: a weight is of another shape than in the model that is to go on, or only one of them has it.
    """
    wanted = engine.weight_shapes()
    found = wanted if state.cursor.shapes is None else state.cursor.shapes
    for name in (*wanted, *found):
        if (one := found.get(name)) != (other := wanted.get(name)):
            raise StorageError(
                f"{state.path}: its weights are of another version of the model: {name}: found {'nothing' if one is None else one}, "
                f"wanted {'nothing' if other is None else other}; go on with the version that wrote it, or start anew with --force"
            )


def load_progress(state: ResumeState[Cursor], engine: Engine, loop: TrainingLoop) -> Progress:
    """Puts weights, optimizer and counters back. Collective.

    Raises:
        StorageError: the weights are of another version of the model, naming both shapes; or their average can't be read.
    """
    cursor = state.cursor
    _check_tensors(state, engine)
    try:
        engine.load_state(state.path / "engine")
    except RuntimeError as error:
        if "state_dict" not in str(error):  # torch has no error of its own for weights that don't fit
            raise
        raise StorageError(
            f"{state.path}: its weights are of another version of the model: {' '.join(str(error).split())}; go on with the "
            "version that wrote it, or start anew with --force"
        ) from error
    if loop.average is not None:
        loop.average.load(state.path)
    loop.global_step = cursor.global_step
    loop.nonfinite_in_a_row = cursor.nonfinite_in_a_row
    info("training.resumed", epoch=cursor.epoch, batch=cursor.batches_done, path=state.path)
    return Progress(cursor.epoch, cursor.batches_done, cursor.sums)


def load_monitor(state: ResumeState[Cursor], monitor: UpdateMonitor) -> None:
    """In the midst of an epoch: what the monitor saw last. At its start it has just looked."""
    if state.cursor.batches_done:
        monitor.restore(load_file(str(state.path / _MONITOR)), state.cursor.monitor)


def watch_first_steps(loop: TrainingLoop, state: ResumeState[Cursor] | None) -> None:
    """Gives the loop its liveness probe, unless it is off or its steps are over. Collective.

    A probe compares with the weights that a run started from: one that was stopped within these steps gets back what was
    measured, and one that was stopped later is not watched again.
    """
    steps = loop.config.liveness_steps
    measured = None if state is None else state.cursor.liveness
    if not steps or (state is not None and measured is None):
        return
    loop.probe = LivenessProbe(loop.engine, loop.table, steps=steps)
    if state is not None and measured is not None:
        loop.probe.restore(load_file(str(state.path / _LIVENESS)), measured)


def save_progress(
    output: Path,
    run: str,
    manifest: Manifest,
    engine: Engine,
    loop: TrainingLoop,
    monitor: UpdateMonitor,
    progress: Progress,
) -> None:
    """Writes a resume state. Collective.

    Args:
        manifest: what a checkpoint made of this state would say of itself.

    Raises:
        StorageError: it could not be written; the earlier state is intact.
    """
    samples, changes = monitor.to_state()
    watched, measured = loop.probe.to_state() if loop.probe is not None else ({}, None)
    cursor = Cursor(
        run=run,
        epoch=progress.epoch,
        batches_done=progress.batches_done,
        global_step=loop.global_step,
        nonfinite_in_a_row=loop.nonfinite_in_a_row,
        sums=progress.sums,
        monitor=changes,
        liveness=measured,
        engine=engine.kind,
        world_size=engine.world_size,
        manifest=manifest,
        shapes=engine.weight_shapes(),
    )

    def write(folder: Path) -> None:
        engine.save_state(folder / "engine")
        if loop.average is not None:
            loop.average.save(folder)
        if engine.is_main and progress.batches_done:
            save_file(samples, str(folder / _MONITOR))
        if engine.is_main and measured is not None:
            save_file(watched, str(folder / _LIVENESS))

    save_resume_state(output, cursor, write, is_main=engine.is_main, any_rank=engine.any_rank)
