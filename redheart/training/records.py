"""Records of a training, ``metrics.jsonl``: one line for the run, then one per epoch; and which of them count.

A run that goes on takes away the records of epochs that it trains again. Of an epoch that earlier versions recorded twice the
later record counts. A run's line cuts what was before it where it is another run's, or says otherwise than the one before it
whether this is a dry run. Lines of kinds that this version does not know are passed over.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from redheart.config import Config
from redheart.errors import NotYetDone, StorageError
from redheart.facts.scores import SplitScores
from redheart.messages import debug
from redheart.paths import OutputPaths
from redheart.storage import append_line, as_struct, read_lines, write_text
from redheart.storage.atomic import to_json

#: What the run's line was called in older files.
_OLD_RUN_KIND = "start"


class RunRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="run"):
    """What the run says of itself before its first step.

    Attributes:
        run: identity of the run.
        config: for people; not read back, because another version's settings need not be this one's.
        parameters: of the model.
        counts: situations by split.
        choose, checkpoint: scores and folder of the model before its first step; None where it was not kept.
    """

    run: str | None = None
    config: Config | None = None
    learning_rate: float | None = None
    preset: str | None = None
    world_size: int | None = None
    engine: str | None = None
    parameters: int | None = None
    dry_run: bool
    counts: dict[str, int] | None = None
    choose: SplitScores | None = None
    checkpoint: str | None = None


class TrainLosses(msgspec.Struct, frozen=True, kw_only=True):
    """The training loss, and each term of it, as means over an epoch's situations."""

    loss: float
    terms: dict[str, float] = {}


class NormSpread(msgspec.Struct, frozen=True, kw_only=True):
    """A module's gradient norm over the steps at which it was measured."""

    mean: float | None = None
    std: float | None = None
    max: float | None = None


class GradientRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Gradient norms before clipping: of all parameters, and by module."""

    total_norm_mean: float | None = None
    modules: dict[str, NormSpread] | None = None


class ModuleUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """How a module's weights moved over an epoch: relative to their norm, and the share of rows that did not move."""

    relative: float | None = None
    dead_fraction: float | None = None


class UpdateRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How the weights moved, by module."""

    modules: dict[str, ModuleUpdate] | None = None


class EpochRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="epoch"):
    """What an epoch came to.

    Attributes:
        epoch: 1-based.
        global_step: optimizer steps of the run so far.
        learning_rate: of the epoch's last step.
        updates: optimizer steps of the epoch that were taken.
        checkpoint: the epoch's folder, relative to the output root.
    """

    epoch: Annotated[int, msgspec.Meta(ge=1)]
    global_step: int | None = None
    learning_rate: float | None = None
    seconds: float | None = None
    updates: int | None = None
    train: TrainLosses | None = None
    choose: SplitScores | None = None
    gradient: GradientRecord | None = None
    update: UpdateRecord | None = None
    checkpoint: str | None = None


@dataclass(frozen=True)
class TrainingRecords:
    """What counts of a ``metrics.jsonl``.

    Attributes:
        run: the last run's own line; None where there is none.
        epochs: by number, ascending.
        lines: each epoch's line in the file, from 1.
    """

    path: Path
    run: RunRecord | None
    epochs: dict[int, EpochRecord]
    lines: dict[int, int]

    @property
    def is_dry_run(self) -> bool:
        return self.run is not None and self.run.dry_run

    def where(self, epoch: int) -> str:
        """The place of an epoch's record, for an error's message."""
        return f"{self.path}: line {self.lines[epoch]}"

    def needed(self) -> TrainingRecords:
        """The same, if there is an epoch in it.

        Raises:
            NotYetDone: there is none.
        """
        if not self.epochs:
            command = OutputPaths(self.path.parent).training_command
            raise NotYetDone(f"{self.path}: found no epoch, wanted at least one; `{command}` writes them")
        return self


def append_record(path: Path, record: RunRecord | EpochRecord) -> None:
    """Adds a line.

    Raises:
        StorageError: it could not be written; the lines that were there are intact.
    """
    append_line(path, record)


def drop_records_from(path: Path, epoch: int) -> None:
    """Takes away the records of ``epoch`` and those after it, which are trained again; a log with a damaged line stays as it is.

    Raises:
        StorageError: it could not be written; the file is as it was.
    """
    try:
        lines = read_lines(path)
    except StorageError:  # said by whoever reads it
        return
    kept = [line for line in lines if not _is_of_epoch(line, epoch)]
    if len(kept) < len(lines):
        write_text(path, "".join(f"{to_json(line)}\n" for line in kept))


def _is_of_epoch(line: object, first: int) -> bool:
    """Whether it is the record of epoch ``first`` or of a later one."""
    if not isinstance(line, dict) or line.get("kind") != "epoch":
        return False
    found = line.get("epoch")
    return isinstance(found, int) and found >= first


def read_records(path: Path) -> TrainingRecords:
    """What counts of the file at ``path``.

    Raises:
        NotYetDone: it is missing.
        StorageError: a line is damaged; names the line, the field, what was found and what is wanted.
    """
    if not path.is_file():
        raise NotYetDone(f"{path}: not found; `{OutputPaths(path.parent).training_command}` writes it")
    run: RunRecord | None = None
    epochs: dict[int, EpochRecord] = {}
    lines: dict[int, int] = {}
    for number, line in enumerate(_lines_of(path), start=1):
        record = _record(line, f"{path}: line {number}")
        if isinstance(record, RunRecord):
            if epochs and run is not None and (run.run, run.dry_run) != (record.run, record.dry_run):
                debug(f"{path}: line {number}: another run starts here; {len(epochs)} earlier epochs are left out")
                epochs, lines = {}, {}
            run = record
        elif record is not None:
            epochs[record.epoch], lines[record.epoch] = record, number
    return TrainingRecords(path, run, dict(sorted(epochs.items())), lines)


def _lines_of(path: Path) -> list[Any]:
    try:
        return read_lines(path)
    except StorageError as error:
        command = OutputPaths(path.parent).training_command
        raise StorageError(
            f"{error}; put it back from a copy, or have the run trained again: `{command} --force`"
        ) from error


def read_run_record(path: Path) -> RunRecord | None:
    """The last run's own line, whatever is wrong with those of its epochs; None where there is none that fits."""
    found: RunRecord | None = None
    with contextlib.suppress(StorageError):
        for number, line in enumerate(read_lines(path), start=1):
            with contextlib.suppress(StorageError):
                record = _record(line, f"{path}: line {number}")
                found = record if isinstance(record, RunRecord) else found
    return found


def _record(line: object, where: str) -> RunRecord | EpochRecord | None:
    """One line; None where it is of a kind that this version does not know."""
    kind = line.get("kind") if isinstance(line, dict) else None
    if not isinstance(line, dict) or not isinstance(kind, str):
        raise StorageError(f"{where}: kind: found {line!r:.60}, wanted a record with its kind")
    if kind in ("run", _OLD_RUN_KIND):
        return as_struct({**line, "kind": "run", "config": None}, RunRecord, where)
    if kind == "epoch":
        return as_struct(line, EpochRecord, where)
    debug(f"{where}: a record of kind {kind!r} says nothing about epochs")
    return None
