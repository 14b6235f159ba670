"""Whose run lies in the output folder: the same is gone on with or skipped, another is moved out of the way."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from redheart.checkpoint import list_epochs
from redheart.messages import info
from redheart.storage import fingerprint, read_json, write_json
from redheart.training.records import METRICS

#: What belongs to one run and is moved away, not overwritten, when another run takes the same output folder.
_OF_A_RUN = (
    METRICS,
    "run.json",
    "checkpoints",
    "tensorboard",
    "sweet_spot_analysis",
    "crossover",
    "crossover_final.pth",
    "best_model",
    "report",
    "plots",
    "oom_stats",
    "evaluation",
    "consolidated",
)
#: Goes with them, but alone it is no run's: a user may keep their settings there.
_SETTINGS = "config.yaml"


class RunFolder:
    """An output folder as one run sees it.

    Args:
        identity: what makes this run this run, see ``identity.py``.
    """

    def __init__(self, output: Path, identity: Mapping[str, Any]) -> None:
        self.output = output
        self.identity = dict(identity)
        self.run = fingerprint(self.identity)

    def _previous(self) -> dict[str, Any] | None:
        path = self.output / "run.json"
        return read_json(path) if path.exists() else None

    def is_finished(self, epochs: int) -> bool:
        """Whether this very run was finished here and its checkpoints are still there."""
        previous = self._previous()
        if previous is None or previous.get("run") != self.run or not previous.get("finished"):
            return False
        return len(list_epochs(self.output)) == epochs

    def retire_other(self, *, force: bool) -> None:
        """Moves another run's files – with ``force`` this one's too – to ``previous/<time>``; nothing is deleted."""
        previous = self._previous()
        has_files = any((self.output / name).exists() for name in _OF_A_RUN)
        if not has_files or (previous is not None and previous.get("run") == self.run and not force):
            return
        stamp = datetime.now(timezone.utc).strftime("%Y%m%d_%H%M%S")
        target = self.output / "previous" / stamp
        number = 1
        while target.exists():
            number += 1
            target = self.output / "previous" / f"{stamp}_{number}"
        target.mkdir(parents=True)
        for name in (*_OF_A_RUN, _SETTINGS):
            if (self.output / name).exists():
                (self.output / name).rename(target / name)
        info("training.retired", path=target, why=self._why_other(previous) or "--force")

    def _why_other(self, previous: Mapping[str, Any] | None) -> str:
        """What makes the previous run another, as ``preset: tiny → small``; empty where nothing does."""
        if previous is None or not isinstance(previous.get("identity"), dict):
            return "run.json: –"
        before, now = _flat(previous["identity"]), _flat(self.identity)
        found = [
            f"{key}: {before.get(key, '–')} → {now.get(key, '–')}"
            for key in dict.fromkeys([*before, *now])
            if before.get(key) != now.get(key)
        ]
        return ", ".join(found)

    def describe(self, *, finished: bool, facts: Mapping[str, Any]) -> None:
        """Writes ``run.json``."""
        write_json(
            self.output / "run.json",
            {
                "run": self.run,
                "finished": finished,
                "identity": self.identity,
                **facts,
                "updated": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            },
        )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"training": {"epochs": 3}}`` -> ``{"training.epochs": 3}``."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found
