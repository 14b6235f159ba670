"""The truth of a sweep: one file a trial in ``trials/``, published once and never changed.

A file is named after what it is – sweep, stage and point, or the old record that it was imported from – so a point that
was run twice, by a worker that was thought dead and by the one that took over, still has one result: the first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redheart.errors import StorageError
from redheart.storage import fingerprint, read_json
from redheart.sweep.keys import key_of
from redheart.sweep.planner import Observation
from redheart.sweep.publish import publish_once

TRIALS_FOLDER = "trials"

Trial = dict[str, Any]  # as in the file: JSON all the way, with whatever an older version wrote besides


def trial_name(sweep: str, stage: int, point: int) -> str:
    """The one name of a point's result."""
    return f"{sweep}_stage{stage}_point{point}"


def is_loss(value: Any) -> bool:
    """Whether a recorded value is a loss one can compare: a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def finite_or_none(value: Any) -> float | None:
    return float(value) if is_loss(value) else None


def observation(trial: Mapping[str, Any]) -> Observation:
    """A trial as the planner sees it."""
    loss = None if trial.get("diverged") else finite_or_none(trial.get("val_loss"))
    return Observation(trial["learning_rate"], loss, trial.get("seed"))


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
            try:
                trial = read_json(path)
            except StorageError as error:
                raise StorageError(f"{error}; {fix}") from error
            wanted = isinstance(trial, dict) and is_loss(trial.get("learning_rate")) and trial["learning_rate"] > 0
            if not wanted:
                raise StorageError(f"{path}: found no trial, wanted an object with a positive learning_rate; {fix}")
            self._read[name] = trial
        return self._read[name]

    def all(self) -> dict[str, Trial]:
        """Every trial by name, in the order of their names."""
        return {name: self.read(name) for name in sorted(self.names())}

    def publish(self, name: str, trial: Trial) -> bool:
        """Publishes a result under its one name. False: somebody else's is there already, and stays."""
        return publish_once(self.file(name), trial)

    def import_entry(self, key: str, entry: Mapping[str, Any]) -> int:
        """Makes trial files of a cumulative entry that has none, so that they outlive it. Says how many it made.

        An entry's ``runs`` name their trials and go back under those names; an entry without runs is an older
        implementation's and becomes one trial of its own.
        """
        runs = entry.get("runs")
        if isinstance(runs, list):
            return sum(
                self.publish(run["trial"], {name: value for name, value in run.items() if name != "trial"})
                for run in runs
                if _names_a_trial(run) and not self.exists(run["trial"])
            )
        name = f"imported_{key}_{fingerprint(repr(sorted(entry.items())))[:8]}"
        if self.exists(name):
            return 0
        loss = finite_or_none(entry.get("val_loss"))
        trial = {field: value for field, value in entry.items() if not isinstance(value, float) or math.isfinite(value)}
        trial |= {"learning_rate": float(key), "key": key_of(float(key)), "imported": True, "diverged": loss is None}
        return int(self.publish(name, trial))


def _names_a_trial(run: Any) -> bool:
    """Whether an entry's run is a record of ours, under a name that is a file's and not a path."""
    name = run.get("trial") if isinstance(run, dict) else None
    return isinstance(name, str) and name == Path(name).name and is_loss(run.get("learning_rate"))
