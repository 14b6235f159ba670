"""``lr_sweep_cumulative.json``: every learning rate ever tested in this output root, a fold of the trial files.

It is rebuilt under a lock and replaced atomically, and it can always be rebuilt. The lock is ``filelock.FileLock``,
which is ``flock(2)``: right on local filesystems and, since Linux turns it into a byte-range lock there, on NFS mounted
with locking. Nothing depends on it alone: whoever has replaced the file lists the trials again, and folds again when
there are more, so an older fold never stays.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from redheart.errors import StorageError
from redheart.messages import warn
from redheart.paths import OutputPaths
from redheart.storage import fingerprint, write_text
from redheart.storage.atomic import parse_json
from redheart.sweep.learning_rate_keys import key_of
from redheart.sweep.seed_effects import Observation
from redheart.sweep.trials import Record, Trial, TrialFolder, unfit_fields

CUMULATIVE_FILE = OutputPaths.cumulative.name
_LOCK_TIMEOUT = 120.0  # seconds; a fold takes milliseconds, so this is somebody stopped in the debugger or a dead mount


class CumulativeEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What the cumulative file says of one learning rate.

    ``val_loss``, ``train_loss`` and ``accuracy`` are means over the runs of the sweep that tested the learning rate
    last (losses under different settings have no common mean), ``timestamp`` and ``stage`` those of its last run.
    A learning rate with a diverged run in that sweep has ``val_loss`` null and ``diverged`` true.

    Attributes:
        runs: the record of every trial, as they came, each with its name under ``trial``.
    """

    val_loss: float | None
    train_loss: float | None
    accuracy: float | None
    timestamp: str | None
    stage: int | None
    diverged: bool
    runs: tuple[Record, ...]


@dataclass(frozen=True)
class Fold:
    """What a fold found: the entries written, by key, and how many old records it made trial files of."""

    entries: dict[str, CumulativeEntry]
    imported: int


def fold_entries(trials: Mapping[str, Trial]) -> dict[str, CumulativeEntry]:
    """The cumulative entries of ``trials``, by rising learning rate."""
    runs: dict[float, list[tuple[str, Trial]]] = {}
    for name in sorted(trials):
        runs.setdefault(trials[name].learning_rate, []).append((name, trials[name]))
    return {key_of(learning_rate): _entry(runs[learning_rate]) for learning_rate in sorted(runs)}


def _entry(runs: Sequence[tuple[str, Trial]]) -> CumulativeEntry:
    ordered = sorted(runs, key=lambda run: (run[1].order, run[0]))
    last = ordered[-1][1]
    same = [trial for _, trial in ordered if trial.sweep == last.sweep]
    diverged = any(trial.observation.val_loss is None for trial in same)
    return CumulativeEntry(
        val_loss=None if diverged else _mean([trial.val_loss for trial in same]),
        train_loss=_mean([trial.train_loss for trial in same]),
        accuracy=_mean([trial.accuracy for trial in same]),
        timestamp=last.timestamp,
        stage=last.stage,
        diverged=diverged,
        runs=tuple({"trial": name, **trial.record} for name, trial in ordered),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


class CumulativeStore:
    """The fold and its file, under ``lr_sweep_results/``."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.path = results / CUMULATIVE_FILE
        self.trials = TrialFolder(results)
        self._unfit: frozenset[str] = frozenset()

    def refold(self) -> Fold:
        """Rebuilds the file from the trials; records in it that have no trial files become trials first.

        A damaged file is kept beside it under another name and said; what the trial files hold is not lost with it.

        Raises:
            StorageError: a trial file is damaged, the lock is stuck, or the disk refuses. The old file is intact.
        """
        self.results.mkdir(parents=True, exist_ok=True)
        lock = self.results / f".{CUMULATIVE_FILE}.lock"
        try:
            with FileLock(lock).acquire(timeout=_LOCK_TIMEOUT, poll_interval=0.01):
                return self._refold_locked()
        except Timeout as error:
            raise StorageError(
                f"{lock}: held for more than {_LOCK_TIMEOUT:g} s; find the process that holds it (fuser {lock})"
            ) from error

    def _refold_locked(self) -> Fold:
        imported = self._import_old()
        while True:
            names = self.trials.names()
            trials = {name: self.trials.read(name) for name in names}
            self._say_unfit(trials)
            entries = fold_entries(trials)
            content = json.dumps(msgspec.to_builtins(entries), ensure_ascii=False, indent=2, allow_nan=False) + "\n"
            if self._content() != content.encode():
                write_text(self.path, content)
            if self.trials.names() == names:
                return Fold(entries, imported)

    def _say_unfit(self, trials: Mapping[str, Trial]) -> None:
        """Warns, once, of fields that count as absent because they are of another kind than ours."""
        unfit = {name: fields for name in sorted(trials) if (fields := unfit_fields(trials[name].record))}
        if unfit.keys() - self._unfit:
            name, fields = next(iter(unfit.items()))
            found = ", ".join(f"{field}: {trials[name].record[field]!r:.40}" for field in fields)
            warn("sweep.unfit_fields", path=self.trials.file(name), found=found, count=len(unfit))
            self._unfit = frozenset(unfit)

    def _content(self) -> bytes | None:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None

    def _import_old(self) -> int:
        content = self._content()
        if content is None:
            return 0
        try:
            entries = parse_json(content)
            problem = None if isinstance(entries, dict) else f"found a {type(entries).__name__}, wanted an object"
            if problem is None:
                problem = next((bad for key, entry in entries.items() if (bad := _entry_problem(key, entry))), None)
        except ValueError as error:
            problem = f"not valid JSON: {error}"
        if problem is not None:
            self._set_aside(problem)
            return 0
        return sum(self.trials.import_entry(key, entry) for key, entry in entries.items())

    def _set_aside(self, problem: str) -> None:
        stamp = time.strftime("%Y%m%d_%H%M%S")
        content = self._content() or b""
        aside = self.results / f"{Path(CUMULATIVE_FILE).stem}.damaged_{stamp}_{fingerprint(content.hex())[:6]}.json"
        if not aside.exists():
            os.link(self.path, aside)  # a second name, not a move: the fold that follows replaces the first one
        warn("sweep.damaged", path=self.path, problem=problem, aside=aside.name, trials=len(self.trials.names()))

    def history(self) -> list[Observation]:
        """Every trial ever recorded here, from the truth."""
        return [trial.observation for trial in self.trials.all().values()]


def _entry_problem(key: str, entry: object) -> str | None:
    try:
        learning_rate = float(key)
    except ValueError:
        return f"key {key!r}: wanted a learning rate"
    if not (math.isfinite(learning_rate) and learning_rate > 0):
        return f"key {key!r}: wanted a positive learning rate"
    return None if isinstance(entry, dict) else f"{key!r}: found {type(entry).__name__}, wanted an object"
