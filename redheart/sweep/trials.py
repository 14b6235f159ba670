"""Trials, the source of truth of a sweep: one file each in ``trials/``, published once and never changed.

A file is named after what it is – sweep, stage and point, or the old record that it was imported from – so a point that
was run twice, by a worker that was thought dead and by the one that took over, still has one result: the first.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec

from redheart.errors import StorageError
from redheart.messages import text
from redheart.progress import duration
from redheart.storage import fingerprint, read_json
from redheart.storage.names import fault_of_letters, shown_name
from redheart.storage.structs import finite
from redheart.sweep.learning_rate_keys import key_of
from redheart.sweep.publish import publish_once
from redheart.sweep.seed_effects import Observation

TRIALS_FOLDER = "trials"

#: A trial or an entry as it lies in a file. An older version or the earlier implementation may have written fields that
#: nobody knows here; they are kept wherever the record is written again, in their order.
Record = dict[str, Any]


def trial_name(sweep: str, stage: int, point: int) -> str:
    """The one name of a point's result."""
    return f"{sweep}_stage{stage}_point{point}"


def is_loss(value: object) -> bool:
    """Whether a recorded value is a loss one can compare: a finite number."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def finite_or_none(value: float | None) -> float | None:
    return float(value) if value is not None and is_loss(value) else None


class EpochLosses(msgspec.Struct, frozen=True):
    """One point of a trial's curve; a loss that is not a finite number is None."""

    epoch: int
    val_loss: float | None
    train_loss: float | None


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """A finished trial. What an imported record does not say is None.

    Attributes:
        val_loss: on the whole ``choose`` half after the last epoch; None where it diverged.
        timestamp: when it ended, ISO 8601.
        sweep: the name of the sweep that ran it.
        placement: as in its plan, see ``PlannedTrial``.
        published_after: how many trials there were when it ended, which no clock decides.
        reason: why there is no loss, where it is not that it diverged.
        choose_count: situations that ``val_loss`` was computed on; 0 when it diverged before anything was.
        stored: the record it was read from, without NaNs, which is what is written again; None for one that no file holds yet.
    """

    learning_rate: float
    val_loss: float | None = None
    train_loss: float | None = None
    accuracy: float | None = None
    timestamp: str | None = None
    stage: int | None = None
    point: int | None = None
    sweep: str | None = None
    seed: int | None = None
    placement: str | None = None
    diverged: bool = False
    choose_count: int | None = None
    train_count: int | None = None
    epochs: int | None = None
    gradient_norm: float | None = None
    seconds: float | None = None
    curve: tuple[EpochLosses, ...] = ()
    published_after: int | None = None
    reason: str | None = None
    stored: Record | None = None

    @property
    def record(self) -> Record:
        """What its file holds."""
        if self.stored is not None:
            return self.stored
        facts: Record = msgspec.to_builtins(self)
        del facts["stored"]
        if self.published_after is None:  # as older versions write it
            del facts["published_after"]
        if self.reason is None:
            del facts["reason"]
        learning_rate = facts.pop("learning_rate")
        return {"learning_rate": learning_rate, "key": key_of(learning_rate), **facts}

    @property
    def order(self) -> tuple[bool, int, str]:
        """Sorts trials as they came: by what was there before them; those that don't tell come first, by their clocks."""
        return self.published_after is not None, self.published_after or 0, self.timestamp or ""

    @property
    def observation(self) -> Observation:
        """What the planner sees of it."""
        return Observation(self.learning_rate, None if self.diverged else self.val_loss, self.seed)


_KINDS = {field.name: field.type for field in msgspec.structs.fields(Trial) if field.name != "stored"}


def trial_of(record: object) -> Trial | None:
    """The trial that a record holds; None where it is none: no object with a positive learning rate.

    A field of another kind than ours, as a foreign store may hold, counts as absent; the record keeps it.
    """
    if not isinstance(record, dict) or not is_loss(record.get("learning_rate")) or record["learning_rate"] <= 0:
        return None
    unfit = unfit_fields(record)
    facts = {name: msgspec.convert(record[name], _KINDS[name]) for name in _KINDS if name in record.keys() - unfit}
    losses = {name: finite_or_none(value) for name, value in facts.items() if isinstance(value, float)}
    return Trial(**{**facts, **losses}, stored=finite(record))


def unfit_fields(record: Record) -> list[str]:
    """The fields of a record that are of another kind than ours."""
    unfit = []
    for name, kind in _KINDS.items():
        try:
            msgspec.convert(record.get(name), kind | None)
        except msgspec.ValidationError:
            unfit.append(name)
    return unfit


def in_words(trial: Trial) -> str:
    """A finished trial in a line of the log."""
    none = text("sweep.diverged") if trial.reason is None else trial.reason
    loss = none if trial.val_loss is None else f"val_loss {trial.val_loss:.5g}"
    took = "" if trial.seconds is None else f", {duration(trial.seconds)}"
    return f"LR {key_of(trial.learning_rate)}: {loss}{took}"


class TrialFolder:
    """``trials/``: lists, reads and publishes. Files never change, so each is read once."""

    def __init__(self, results: Path) -> None:
        self.path = results / TRIALS_FOLDER
        self._read: dict[str, Trial] = {}

    def names(self) -> frozenset[str]:
        """Names of all published trials."""
        try:
            return frozenset(
                path.stem for path in self.path.iterdir() if path.suffix == ".json" and path.name[0] != "."
            )
        except FileNotFoundError:
            return frozenset()

    def file(self, name: str) -> Path:
        return self.path / f"{name}.json"

    def exists(self, name: str) -> bool:
        return self.file(name).exists()

    def read(self, name: str) -> Trial:
        """One trial.

        Raises:
            StorageError: the file is damaged, with its name and what to do.
        """
        if name not in self._read:
            path = self.file(name)
            fix = (
                "move the file away: its result is then taken from lr_sweep_cumulative.json, or the point is run again"
            )
            if fault := fault_of_letters(name):
                raise StorageError(f"{self.path}: found {fault}, {shown_name(path.name)}, among the trials; {fix}")
            try:
                trial = trial_of(read_json(path))
            except StorageError as error:
                raise StorageError(f"{error}; {fix}") from error
            if trial is None:
                raise StorageError(f"{path}: found no trial, wanted an object with a positive learning_rate; {fix}")
            self._read[name] = trial
        return self._read[name]

    def all(self) -> dict[str, Trial]:
        """Every trial by name, in the order of their names."""
        return {name: self.read(name) for name in sorted(self.names())}

    def publish(self, name: str, trial: Trial) -> bool:
        """Publishes a result under its one name. False: somebody else's is there already, and stays."""
        return publish_once(self.file(name), trial.record)

    def import_entry(self, key: str, entry: Record) -> int:
        """Makes trial files of a cumulative entry that has none, so that they outlive it. Says how many it made.

        An entry's ``runs`` name their trials and go back under those names; an entry without runs is an older
        implementation's and becomes one trial of its own.
        """
        runs = entry.get("runs")
        if isinstance(runs, list):
            return sum(
                publish_once(self.file(run["trial"]), finite({name: run[name] for name in run if name != "trial"}))
                for run in runs
                if _names_a_trial(run) and not self.exists(run["trial"])
            )
        name = f"imported_{key}_{fingerprint(repr(sorted(entry.items())))[:8]}"
        if self.exists(name):
            return 0
        kept = finite(entry)
        learning_rate, diverged = float(key), not is_loss(entry.get("val_loss"))
        kept |= {"learning_rate": learning_rate, "key": key_of(learning_rate), "imported": True, "diverged": diverged}
        return int(publish_once(self.file(name), kept))


def _names_a_trial(run: Any) -> bool:
    """Whether an entry's run is a record of ours, under a name that is a file's and not a path."""
    name = run.get("trial") if isinstance(run, dict) else None
    return isinstance(name, str) and name == Path(name).name and is_loss(run.get("learning_rate"))
