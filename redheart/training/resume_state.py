"""The resume state of a run, saving it and going on from it: the engine's state, the loop's counters, and what its callbacks keep."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from safetensors.torch import load_file, save_file
from torch import Tensor

from redheart.checkpoint import Manifest, ResumeState, newest_resume_state, save_resume_state
from redheart.checkpoint.restore import check_same_model
from redheart.checkpoint.resume import MANIFEST
from redheart.engine.contract import Engine
from redheart.errors import AnotherModel, ConfigError
from redheart.messages import info, warn
from redheart.model.presets import ModelDimensions
from redheart.storage import as_struct
from redheart.training.loop import TrainingLoop

T = TypeVar("T")


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run was when its resume state was written; beside it stands, by name, what each callback kept.

    Attributes:
        epoch: the epoch under way, 1-based; ``batches_done``: its batches that are done.
        engine, world_size: what the engine's files were written by.
        manifest: what a checkpoint made of this state would say of itself.
        shapes: of the weights by name; None in a state of before they were kept.
    """

    run: str
    epoch: int
    batches_done: int
    global_step: int
    nonfinite_in_a_row: int
    engine: str
    world_size: int
    manifest: Manifest
    shapes: dict[str, list[int]] | None = None


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
    """The newest valid state of ``run``, if there is one, that what was lost comes again from; says which were passed over.

    Args:
        shape: of the model that goes on.
        lost: of the epochs up to a given one those that have no checkpoint or no record any more.

    Raises:
        ConfigError: it is sharded for other processes than these, or is of a model of another shape: another version's.
    """
    state, reasons = newest_resume_state(output, Cursor)
    for reason in reasons:
        warn("training.resume_passed_over", reason=reason)
    if state is None or state.cursor.run != run:
        return None
    was, world = state.cursor.engine, state.cursor.world_size
    if not engine.loads_state_of(was, world):
        raise ConfigError(
            f"{state.path}: this run was stopped under {was} with {world} processes, and can't go on under "
            f"{engine.kind} with {engine.world_size}: start it as before, or anew with --force"
        )
    check_same_model(state.cursor.manifest, state.path, shape, "this run (--force starts it anew)")
    missing = lost(state.cursor.epoch - 1)
    return _before(missing, output, state) if missing else state


def _before(missing: Sequence[int], output: Path, newest: ResumeState[Cursor]) -> ResumeState[Cursor]:
    """A state from which the epochs ``missing`` come again; without one the newest. Says what is done about them."""
    now = newest.cursor

    def is_early_enough(cursor: Cursor) -> bool:
        alike = (cursor.run, cursor.engine, cursor.world_size) == (now.run, now.engine, now.world_size)
        return alike and cursor.epoch <= missing[0]

    found, _ = newest_resume_state(output, Cursor, accepts=is_early_enough)
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


def load_progress(state: ResumeState[Cursor], loop: TrainingLoop) -> Position:
    """Puts weights, optimizer and the loop's counters back. Collective.

    Raises:
        AnotherModel: the weights are of another version of the model, naming both shapes.
        StorageError: their average can't be read.
    """
    cursor, engine = state.cursor, loop.engine
    _check_tensors(state, engine)
    try:
        engine.load_state(state.path / "engine")
    except RuntimeError as error:
        if "state_dict" not in str(error):  # torch has no error of its own for weights that don't fit
            raise
        # A state of before shapes were noted: it is whole, and every process meets this alike.
        raise AnotherModel(
            f"{state.path}: its weights are of another version of the model: {' '.join(str(error).split())}; go on with the "
            "version that wrote it, or start anew with --force"
        ) from error
    if loop.average is not None:
        loop.average.load(state.path)
    loop.global_step = cursor.global_step
    loop.nonfinite_in_a_row = cursor.nonfinite_in_a_row
    info("training.resumed", epoch=cursor.epoch, batch=cursor.batches_done, path=state.path)
    return Position(cursor.epoch, cursor.batches_done)


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
    cursor = Cursor(
        run=run,
        epoch=position.epoch,
        batches_done=position.batches_done,
        global_step=loop.global_step,
        nonfinite_in_a_row=loop.nonfinite_in_a_row,
        engine=engine.kind,
        world_size=engine.world_size,
        manifest=manifest,
        shapes=engine.weight_shapes(),
    )
    if taken := set(Cursor.__struct_fields__) & kept.keys():
        raise ValueError(f"a callback keeps its state under a name of the cursor's own: {', '.join(sorted(taken))}")
    values = {name: None if one is None else one.values for name, one in kept.items()}

    def write(folder: Path) -> None:
        engine.save_state(folder / "engine")
        if loop.average is not None:
            loop.average.save(folder)
        for name, one in kept.items():
            if engine.is_main and one is not None and one.tensors:
                save_file(dict(one.tensors), str(_file(folder, name)))

    save_resume_state(
        output, msgspec.structs.asdict(cursor) | values, write, is_main=engine.is_main, any_rank=engine.any_rank
    )
