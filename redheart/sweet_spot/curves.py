"""Training's records as curves, one per module, with every number checked on the way in.

A number that should be there and is not is an error that names the line and the module, never a zero: an earlier
implementation looked gradients up under names that did not exist and called the result health.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from redheart.errors import StorageError
from redheart.paths import OutputPaths
from redheart.tasks import MODULE_TASK, MODULES
from redheart.training.records import ModuleUpdate, TrainingRecords, read_records

Numbers = NDArray[np.float64]
Epochs = NDArray[np.int64]
T = TypeVar("T")
_NEIGHBOURS = 2  # on either side


@dataclass(frozen=True, slots=True)
class ModuleCurve:
    """One module over the epochs; every array has shape ``(epochs,)``, NaN where a number was not measured.

    Attributes:
        module: one of ``redheart.tasks.MODULES``.
        task: the task whose skill is the module's own; None: the mean over all tasks.
        epochs: 1-based, ascending, as in the records.
        loss: the module's own loss on ``choose``.
        skill: its task's skill on ``choose``; larger is better, 0 is the constant predictor.
        gradient_mean: mean gradient norm over the epoch's steps.
        relative_update: norm of the change over the epoch / norm of the weights.
        dead_fraction: share of weight rows without any change.
        steps: optimizer steps in the epoch.
    """

    module: str
    task: str | None
    epochs: Epochs
    loss: Numbers
    skill: Numbers
    gradient_mean: Numbers
    relative_update: Numbers
    dead_fraction: Numbers
    steps: Numbers


@dataclass(frozen=True, slots=True)
class History:
    """What ``metrics.jsonl`` holds. ``dry_run`` is what the run said of itself when it started."""

    dry_run: bool
    weights_changed: bool
    epochs: Epochs
    curves: dict[str, ModuleCurve]


def read_history(metrics_file: Path, *, among: Container[int] | None = None) -> History:
    """Reads all epochs that count, see ``redheart.training.records``.

    Args:
        among: the epochs to read; None: all.

    Raises:
        StorageError: the file is missing, holds no epoch, or is damaged; names the line, the field and the module.
    """
    records = read_records(metrics_file)
    if records.run is None:
        raise StorageError(
            f"{metrics_file}: line 1: found no record of the run, wanted one that says whether it is a dry run; put it back "
            f"from a copy, or have the run trained again: `{OutputPaths(metrics_file.parent).training_command} --force`"
        )
    if among is not None:
        records = replace(records, epochs={number: one for number, one in records.epochs.items() if number in among})
    return _history(records.needed())


def _history(records: TrainingRecords) -> History:
    dry_run = records.is_dry_run
    epochs = np.array(list(records.epochs), dtype=np.int64)
    steps = _steps_an_epoch(records, epochs)
    curves = {module: _curve(module, records, epochs, steps) for module in MODULES}
    updates = np.concatenate([curve.relative_update for curve in curves.values()])
    known = updates[np.isfinite(updates)]
    changed = bool((known > 0).any()) if known.size else not dry_run
    if dry_run and changed:
        module = next(name for name, curve in curves.items() if (curve.relative_update > 0).any())
        raise StorageError(
            f"{records.where(min(records.epochs))}: update.modules.{module}.relative: found a change of the weights in a "
            "dry run, wanted 0; the file mixes two runs"
        )
    return History(dry_run, changed, epochs, curves)


def _steps_an_epoch(records: TrainingRecords, epochs: Epochs) -> Numbers:
    """Optimizer steps between two records, divided evenly where epochs between them are missing."""
    reached = np.array(
        [
            _number(record.global_step, f"{records.where(epoch)}: record.global_step", needed=True)
            for epoch, record in records.epochs.items()
        ]
    )
    taken = np.diff(reached, prepend=0.0)
    return np.asarray(np.maximum(taken / np.diff(epochs, prepend=0), 0.0), dtype=np.float64)


def _curve(module: str, records: TrainingRecords, epochs: Epochs, steps: Numbers) -> ModuleCurve:
    columns: dict[str, list[float]] = {}

    def add(column: str, value: float | None, place: str, *, needed: bool = False) -> None:
        columns.setdefault(column, []).append(_number(value, place, needed=needed))

    for epoch, record in records.epochs.items():
        where = records.where(epoch)
        scores = _of_module(module, record.choose.modules if record.choose else None, where, "choose")
        add("loss", scores.loss, f"{where}: choose.modules.{module}.loss")
        add("skill", scores.skill, f"{where}: choose.modules.{module}.skill")
        norms = _of_module(module, record.gradient.modules if record.gradient else None, where, "gradient")
        add("gradient_mean", norms.mean, f"{where}: gradient.modules.{module}.mean", needed=True)
        if records.is_dry_run and record.update is None:
            moved = ModuleUpdate(relative=0.0, dead_fraction=0.0)  # it takes no step: known without being measured
        else:
            moved = _of_module(module, record.update.modules if record.update else None, where, "update")
        add("relative_update", moved.relative, f"{where}: update.modules.{module}.relative")
        add("dead_fraction", moved.dead_fraction, f"{where}: update.modules.{module}.dead_fraction")
    arrays = {name: np.array(values, dtype=np.float64) for name, values in columns.items()}
    return ModuleCurve(module, MODULE_TASK[module], epochs, steps=steps, **arrays)


def _of_module(module: str, by_module: dict[str, T] | None, where: str, section: str) -> T:
    """What a record's section has of a module.

    Raises:
        StorageError: it has nothing.
    """
    if by_module is None:
        raise StorageError(f"{where}: {section}.modules is missing, wanted a mapping")
    if module not in by_module:
        known = ", ".join(sorted(by_module)[:4]) or "nothing"
        raise StorageError(f"{where}: {section}.modules: module {module!r} is missing (found {known}, …)")
    return by_module[module]


def _number(value: float | None, place: str, *, needed: bool = False) -> float:
    """NaN for what was not measured.

    Raises:
        StorageError: it is needed and absent, or not finite.
    """
    if value is None and not needed:
        return math.nan
    if value is None or not math.isfinite(value):
        raise StorageError(f"{place}: found {'nothing' if value is None else repr(value)}, wanted a finite number")
    return float(value)


def measured(curve: ModuleCurve, values: Numbers) -> tuple[Epochs, Numbers]:
    """The epochs at which ``values`` was measured, and the values there."""
    there = np.isfinite(values)
    return curve.epochs[there], values[there]


def neighbourhoods(values: Numbers) -> Iterator[tuple[int, Numbers]]:
    """Each position at which ``values`` was measured, and what was measured at it and up to two positions on either side."""
    for position in np.flatnonzero(np.isfinite(values)):
        around = values[max(0, position - _NEIGHBOURS) : position + _NEIGHBOURS + 1]
        yield int(position), around[np.isfinite(around)]


def is_constant(values: Numbers) -> bool:
    """No difference that is more than rounding."""
    return bool(np.ptp(values) <= 1e-9 * max(1e-12, float(np.abs(values).max())))
