"""Training's records as curves, one a module, with every number checked on the way in.

A number that should be there and is not is an error that names the line and the module, never a zero: an earlier
implementation looked gradients up under names that did not exist and called the result health.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from redheart.errors import StorageError
from redheart.messages import debug
from redheart.storage import read_lines
from redheart.tasks import MODULE_TASK, MODULES

Numbers = NDArray[np.float64]
Epochs = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ModuleCurve:
    """One module over the epochs; every array has shape ``(epochs,)``, NaN where a number was not measured.

    Attributes:
        module: one of ``redheart.tasks.MODULES``.
        task: the task whose skill is the module's own; None: the mean over all tasks.
        epochs: 1-based, ascending, as in the records.
        loss: the module's own loss on ``choose``.
        skill: its task's skill on ``choose``; larger is better, 0 is the constant predictor.
        gradient_mean, gradient_std: gradient norm over the epoch's steps.
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
    gradient_std: Numbers
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


@dataclass(frozen=True, slots=True)
class _Record:
    """One epoch's line and where it stands."""

    where: str
    fields: dict[str, Any]

    def section(self, *names: str) -> dict[str, Any]:
        value: Any = self.fields
        for depth, name in enumerate(names, start=1):
            if not isinstance(value, dict) or not isinstance(value.get(name), dict):
                raise StorageError(f"{self.where}: {'.'.join(names[:depth])} is missing, wanted a mapping")
            value = value[name]
        return dict(value)

    def number(self, section: dict[str, Any], place: str, name: str, *, needed: bool = False) -> float:
        value = section.get(name)
        if value is None and not needed:
            return math.nan
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            found = "nothing" if value is None else repr(value)
            raise StorageError(f"{self.where}: {place}.{name}: found {found}, wanted a finite number")
        return float(value)


def read_history(metrics_file: Path) -> History:
    """Reads all epochs; where an epoch was run twice (a resumed run) its last record counts.

    A start line that says otherwise than the one before it whether this is a dry run begins another run: what was
    recorded before it is left out.

    Raises:
        StorageError: the file is missing, holds no epoch, or is damaged; names the line, the field and the module.
    """
    if not metrics_file.is_file():
        raise StorageError(f"{metrics_file}: not found; `redheart train` writes it")
    dry_run: bool | None = None
    records: dict[int, _Record] = {}
    for number, line in enumerate(read_lines(metrics_file), start=1):
        where = f"{metrics_file}: line {number}"
        kind = line.get("kind") if isinstance(line, dict) else None
        if not isinstance(kind, str):
            raise StorageError(f"{where}: kind: found {line!r:.60}, wanted a record with its kind")
        if kind == "start":
            if not isinstance(line.get("dry_run"), bool):
                raise StorageError(f"{where}: dry_run: found {line.get('dry_run')!r}, wanted true or false")
            if dry_run is not None and dry_run != line["dry_run"]:
                debug(f"{where}: another run starts here; {len(records)} earlier epochs are left out")
                records.clear()
            dry_run = line["dry_run"]
        elif kind == "epoch":
            epoch = line.get("epoch")
            if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 1:
                raise StorageError(f"{where}: epoch: found {epoch!r}, wanted a whole number from 1")
            records[epoch] = _Record(where, line)
        else:
            debug(f"{where}: a record of kind {kind!r} says nothing about epochs")
    if dry_run is None:
        raise StorageError(
            f"{metrics_file}: line 1: found no start record, wanted one that says whether it is a dry run"
        )
    if not records:
        raise StorageError(f"{metrics_file}: found no epoch, wanted at least one; `redheart train` writes them")
    return _history(dry_run, [records[epoch] for epoch in sorted(records)])


def _history(dry_run: bool, records: list[_Record]) -> History:
    epochs = np.array([record.fields["epoch"] for record in records], dtype=np.int64)
    steps = _steps_an_epoch(records, epochs)
    curves = {module: _curve(module, records, epochs, steps, dry_run) for module in MODULES}
    updates = np.concatenate([curve.relative_update for curve in curves.values()])
    known = updates[np.isfinite(updates)]
    changed = bool((known > 0).any()) if known.size else not dry_run
    if dry_run and changed:
        module = next(name for name, curve in curves.items() if (curve.relative_update > 0).any())
        raise StorageError(
            f"{records[0].where}: update.modules.{module}.relative: found a change of the weights in a dry run, "
            "wanted 0; the file mixes two runs"
        )
    return History(dry_run, changed, epochs, curves)


def _steps_an_epoch(records: list[_Record], epochs: Epochs) -> Numbers:
    """Optimizer steps between two records, divided evenly where epochs between them are missing."""
    reached = np.array([record.number(record.fields, "record", "global_step", needed=True) for record in records])
    taken = np.diff(reached, prepend=0.0)
    return np.asarray(np.maximum(taken / np.diff(epochs, prepend=0), 0.0), dtype=np.float64)


def _curve(module: str, records: list[_Record], epochs: Epochs, steps: Numbers, dry_run: bool) -> ModuleCurve:
    columns: dict[str, list[float]] = {}

    def add(record: _Record, column: str, part: tuple[str, ...], name: str, *, needed: bool = False) -> None:
        if dry_run and part[0] == "update" and "update" not in record.fields:
            columns.setdefault(column, []).append(0.0)  # a dry run takes no step: known without being measured
            return
        modules = record.section(*part)
        place = ".".join(part)
        if not isinstance(modules.get(module), dict):
            known = ", ".join(sorted(modules)[:4]) or "nothing"
            raise StorageError(f"{record.where}: {place}: module {module!r} is missing (found {known}, …)")
        value = record.number(modules[module], f"{place}.{module}", name, needed=needed)
        columns.setdefault(column, []).append(value)

    for record in records:
        add(record, "loss", ("choose", "modules"), "loss")
        add(record, "skill", ("choose", "modules"), "skill")
        add(record, "gradient_mean", ("gradient", "modules"), "mean", needed=True)
        add(record, "gradient_std", ("gradient", "modules"), "std")
        add(record, "relative_update", ("update", "modules"), "relative")
        add(record, "dead_fraction", ("update", "modules"), "dead_fraction")
    arrays = {name: np.array(values, dtype=np.float64) for name, values in columns.items()}
    return ModuleCurve(module, MODULE_TASK[module], epochs, steps=steps, **arrays)


def measured(curve: ModuleCurve, values: Numbers) -> tuple[Epochs, Numbers]:
    """The epochs at which ``values`` was measured, and the values there."""
    there = np.isfinite(values)
    return curve.epochs[there], values[there]


def is_constant(values: Numbers) -> bool:
    """No difference that is more than rounding."""
    return bool(np.ptp(values) <= 1e-9 * max(1e-12, float(np.abs(values).max())))
