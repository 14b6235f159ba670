"""The resume state of a run, saving it and going on from it: the engine's state, the loop's counters, and what its callbacks keep."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from safetensors.torch import load_file, save_file
from torch import Tensor

from redheart.checkpoint import Manifest, ResumeState, newest_resume_state, save_resume_state
from redheart.checkpoint.restore import check_same_model
from redheart.checkpoint.resume import MANIFEST, bytes_of_state, number_of, resume_state
from redheart.engine.contract import Engine
from redheart.engine.resume_files import check_complete
from redheart.errors import AnotherModel, ConfigError, StorageError
from redheart.messages import info, warn
from redheart.model.presets import ModelDimensions
from redheart.storage import as_struct
from redheart.training.loop import TrainingLoop
from redheart.training.saving.agreement import number_of_main

T = TypeVar("T")
#: Of the engine's files, as ``Cursor.form`` has it.
FORM = 2
#: The folder in a state's that has them.
ENGINE = "engine"


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run was when its resume state was written; beside it stands, by name, what each callback kept.

    Attributes:
        epoch: the epoch under way, 1-based; ``batches_done``: its batches that are done.
        form: of the engine's files: 2 by tensor, for every engine (see ``engine/resume_files.py``); 1 as the libraries wrote
            them in earlier versions, for the same engine only.
        engine, world_size: what they were written by.
        micro_batch_size: into which batches were cut; None in a state of before.
        average_updates: optimizer steps that went into the average of the weights; None: none is kept, or in form 1.
        manifest: what a checkpoint made of this state would say of itself.
        shapes: of the weights by name; None in a state of before they were kept.
    """

    run: str
    epoch: Annotated[int, msgspec.Meta(ge=1)]
    batches_done: Annotated[int, msgspec.Meta(ge=0)]
    global_step: Annotated[int, msgspec.Meta(ge=0)]
    nonfinite_in_a_row: int
    engine: str
    world_size: int
    manifest: Manifest
    shapes: dict[str, list[int]] | None = None
    form: int = 1
    average_updates: int | None = None
    micro_batch_size: int | None = None


@dataclass(frozen=True)
class Position:
    """The epoch that is under way (1-based), and its batches that are done."""

    epoch: int = 1
    batches_done: int = 0


@dataclass(frozen=True)
class Kept:
    """What a callback keeps across a stop.

    Attributes:
        values: a struct or plain JSON, stored in the state's cursor under the callback's name; read back, it is JSON.
        tensors: on the CPU, stored in ``<name>.safetensors``; without any there is no file.
        where: it was read from, for an error's message.
    """

    values: Any
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    where: str = ""

    def read(self, kind: type[T]) -> T:
        """The values that were read, as a ``kind``.

        Raises:
            StorageError: they are none; names the place, the field, what was found and what is wanted.
        """
        return as_struct(self.values, kind, self.where)


def newest_state(
    output: Path,
    run: str,
    engine: Engine,
    shape: ModelDimensions,
    *,
    lost: Callable[[int], Sequence[int]] = lambda epoch: (),
) -> ResumeState[Cursor] | None:
    """The newest valid state of ``run``, if there is one, that what was lost comes again from; says which were passed over. Collective.

    Args:
        shape: of the model that goes on.
        lost: of the epochs up to a given one those that have no checkpoint or no record any more.

    Raises:
        ConfigError: it is of an earlier version's form, and sharded for other processes than these.
        AnotherModel: it is of a model of another shape.
        StorageError: it is of a later version's form.
    """
    state = _newest(output, engine)
    if state is None or state.cursor.run != run:
        return None
    _check_form(state, engine)
    check_same_model(state.cursor.manifest, state.path, shape, "this run (--force starts it anew)")
    missing = lost(state.cursor.epoch - 1) if engine.is_main else ()
    return _before(missing, output, state, engine) if engine.any_rank(bool(missing)) else state


def _newest(
    output: Path, engine: Engine, *, accepts: Callable[[Cursor], bool] = lambda cursor: True
) -> ResumeState[Cursor] | None:
    """The newest valid state, as the first process finds it: the others read no file for its hash, and all agree. Collective."""
    state: ResumeState[Cursor] | None = None
    if engine.is_main:
        state, reasons = newest_resume_state(output, Cursor, accepts=accepts)
        for reason in reasons:
            warn("training.resume_passed_over", reason=reason)
    number = number_of_main(engine, 0 if state is None else number_of(state))
    return resume_state(output, number, Cursor) if number and not engine.is_main else state


def _check_form(state: ResumeState[Cursor], engine: Engine) -> None:
    cursor = state.cursor
    if cursor.form > FORM:
        raise StorageError(
            f"{state.path}: found a state of form {cursor.form}, and this version knows {FORM} at most: go on with the version "
            "that wrote it, or start anew with --force"
        )
    if cursor.form == 1 and not engine.loads_older_state_of(cursor.engine, cursor.world_size):
        raise ConfigError(
            f"{state.path}: this run was stopped, by an earlier version, under {cursor.engine} with {cursor.world_size} "
            f"processes, and what that version saved can't go on under {engine.kind} with {engine.world_size}: start it as "
            "before (its next state fits every engine), or anew with --force"
        )


def _before(missing: Sequence[int], output: Path, newest: ResumeState[Cursor], engine: Engine) -> ResumeState[Cursor]:
    """A state from which the epochs ``missing`` come again; without one the newest. Says what is done about them. Collective.

    Args:
        missing: as the first process sees it.
    """
    now = newest.cursor

    def is_early_enough(cursor: Cursor) -> bool:
        alike = (cursor.engine, cursor.world_size) == (now.engine, now.world_size) or cursor.form == now.form == FORM
        return alike and cursor.run == now.run and cursor.epoch <= missing[0]

    found = _newest(output, engine, accepts=is_early_enough)
    key = "training.lost_epochs" if found is None else "training.lost_epochs_again"
    warn(key, path=output, epochs=", ".join(map(str, missing)))
    return newest if found is None else found


def _check_tensors(state: ResumeState[Cursor], engine: Engine) -> None:
    """Before the engine reads: under ZeRO what lies there is cut and flattened, and fails to fit as a raw number's count.

    Raises:
        AnotherModel: a weight is of another shape than in the model that is to go on, or only one of them has it.
    """
    wanted = engine.weight_shapes()
    found = wanted if state.cursor.shapes is None else state.cursor.shapes
    for name in (*wanted, *found):
        if (one := found.get(name)) != (other := wanted.get(name)):
            raise AnotherModel(
                f"{state.path}: its weights are of another version of the model: {name}: found {'nothing' if one is None else one}, "
                f"wanted {'nothing' if other is None else other}; go on with the version that wrote it, or start anew with --force"
            )


def _check_position(state: ResumeState[Cursor], loop: TrainingLoop) -> None:
    """Whether the counters of a state fit each other, which in one of before nothing else vouches for.

    Raises:
        StorageError: they don't.
    """
    cursor, batches = state.cursor, loop.batches_an_epoch
    steps = (cursor.epoch - 1) * batches + cursor.batches_done
    if cursor.batches_done > batches or cursor.global_step != steps:
        raise StorageError(
            f"{state.path / MANIFEST}: cursor: found epoch {cursor.epoch}, batch {cursor.batches_done} and global_step "
            f"{cursor.global_step}, wanted at most {batches} batches and {steps} steps: it is damaged; remove {state.path} to go on "
            "from the one before it"
        )


def load_progress(state: ResumeState[Cursor], loop: TrainingLoop) -> Position:
    """Puts weights, optimizer and the loop's counters back; says where the run won't repeat bit by bit. Collective.

    Raises:
        AnotherModel: the weights are of another version of the model, naming both shapes.
        StorageError: a file does not hold what it should.
    """
    cursor, engine = state.cursor, loop.engine
    _check_position(state, loop)
    _check_tensors(state, engine)
    if cursor.form == 1:
        _load_older(state, loop)
    else:
        engine.load_state(state.path / ENGINE, loop.average_by_kind())
        if loop.average is not None and cursor.average_updates is not None:
            loop.average.updates = cursor.average_updates
    loop.global_step = cursor.global_step
    loop.nonfinite_in_a_row = cursor.nonfinite_in_a_row
    info("training.resumed", epoch=cursor.epoch, batch=cursor.batches_done, path=state.path)
    was, now = (cursor.engine, cursor.world_size), (engine.kind, engine.world_size)
    if was != now:
        info("training.resumed_elsewhere", was=was[0], processes=was[1], engine=now[0], now=now[1])
    elif not engine.goes_on_exactly:
        info("training.resumed_nearly", engine=engine.kind)
    return Position(cursor.epoch, cursor.batches_done)


def _load_older(state: ResumeState[Cursor], loop: TrainingLoop) -> None:
    """Reads a state that the libraries wrote, in an earlier version."""
    try:
        loop.engine.load_older_state(state.path / ENGINE)
    except RuntimeError as error:
        if "state_dict" not in str(error):  # torch has no error of its own for weights that don't fit
            raise
        # A state of before shapes were noted: it is whole, and every process meets this alike.
        raise AnotherModel(
            f"{state.path}: its weights are of another version of the model: {' '.join(str(error).split())}; go on with the "
            "version that wrote it, or start anew with --force"
        ) from error
    if loop.average is not None:
        loop.average.load_older(state.path)


def load_kept(state: ResumeState[Cursor], names: Iterable[str]) -> dict[str, Kept]:
    """What callbacks of these names kept; those that kept nothing, or were not there, are absent."""
    kept = {}
    for name in names:
        if (values := state.raw_cursor.get(name)) is not None:
            file = _file(state.path, name)
            where = f"{state.path / MANIFEST}: cursor.{name}"
            kept[name] = Kept(values, load_file(str(file)) if file.exists() else {}, where)
    return kept


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.safetensors"


def save_progress(
    output: Path,
    run: str,
    manifest: Manifest,
    loop: TrainingLoop,
    position: Position,
    kept: Mapping[str, Kept | None],
) -> None:
    """Writes a resume state. Collective.

    Args:
        manifest: what a checkpoint made of this state would say of itself.
        kept: by callback.

    Raises:
        StorageError: it could not be written; the earlier state is intact.
    """
    engine = loop.engine
    shapes = engine.weight_shapes()
    cursor = Cursor(
        run=run,
        epoch=position.epoch,
        batches_done=position.batches_done,
        global_step=loop.global_step,
        nonfinite_in_a_row=loop.nonfinite_in_a_row,
        engine=engine.kind,
        world_size=engine.world_size,
        manifest=manifest,
        shapes=shapes,
        form=FORM,
        average_updates=None if loop.average is None else loop.average.updates,
        micro_batch_size=engine.geometry.micro_batch_size,
    )
    if taken := set(Cursor.__struct_fields__) & kept.keys():
        raise ValueError(f"a callback keeps its state under a name of the cursor's own: {', '.join(sorted(taken))}")
    values = {name: None if one is None else one.values for name, one in kept.items()}

    def write(folder: Path) -> None:
        engine.save_state(folder / ENGINE, loop.average_by_kind())
        for name, one in kept.items():
            if engine.is_main and one is not None and one.tensors:
                save_file(dict(one.tensors), str(_file(folder, name)))

    save_resume_state(
        output,
        msgspec.structs.asdict(cursor) | values,
        write,
        is_main=engine.is_main,
        any_rank=engine.any_rank,
        of_main=lambda number: number_of_main(engine, number),
        check=lambda folder: check_complete(folder / ENGINE, engine.world_size, shards_state=engine.shards_state),
        needs=bytes_of_state(sum(map(math.prod, shapes.values())), has_average=loop.average is not None),
    )
