"""Synthetic ``metrics.jsonl`` files: curves in, a file out, in the form that training writes."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from redheart.storage import append_line
from redheart.sweet_spot.curves import ModuleCurve
from redheart.tasks import MODULE_TASK, MODULES

START: dict[str, Any] = {
    "kind": "start",
    "config": {},
    "world_size": 1,
    "parameters": 1000,
    "dry_run": False,
    "counts": {"train": 400, "choose": 63, "judge": 60, "test": 100},
}


def curve(loss: Any, skill: Any = None, **others: Any) -> ModuleCurve:
    """A module with this loss over epochs 1, 2, …; skill and the rest as given, else not measured or unremarkable."""
    values = np.asarray(loss, dtype=float)
    count = len(values)
    unknown = np.full(count, math.nan)
    arrays: dict[str, Any] = {
        "skill": unknown if skill is None else np.asarray(skill, dtype=float),
        "gradient_mean": np.ones(count),
        "relative_update": np.full(count, 0.01),
        "dead_fraction": np.zeros(count),
        "steps": np.full(count, 100.0),
        "epochs": np.arange(1, count + 1),
    }
    arrays |= {name: np.asarray(value) for name, value in others.items()}
    return ModuleCurve("backbone", None, loss=values, **arrays)


def fall_and_plateau(count: int, first: int, last: int, rise: float) -> Any:
    """Falls from 1 to 0 until epoch ``first``, is flat to ``last``, rises to ``rise`` at the end."""
    epochs = np.arange(1.0, count + 1)
    return np.interp(epochs, [1, first, last, count + 1e-9], [1.0, 0.0, 0.0, rise])


def epoch_record(
    epoch: int,
    module_numbers: Callable[[str], tuple[float | None, float | None]],
    *,
    relative: float = 0.01,
    gradient: float = 1.0,
) -> dict[str, Any]:
    choose: dict[str, Any] = {}
    for module in MODULES:
        loss, skill = module_numbers(module)
        choose[module] = {name: value for name, value in (("loss", loss), ("skill", skill)) if value is not None}
    return {
        "kind": "epoch",
        "epoch": epoch,
        "global_step": 12 * epoch,
        "learning_rate": 1e-4,
        "seconds": 1.0,
        "train": {"loss": 1.0, "terms": {}},
        "choose": {"count": 63, "loss": 1.0, "terms": {}, "tasks": {}, "modules": choose},
        "gradient": {
            "total_norm_mean": gradient,
            "modules": {module: {"mean": gradient, "std": 0.1, "max": 2.0} for module in MODULES},
        },
        "update": {"modules": {module: {"relative": relative, "dead_fraction": 0.0} for module in MODULES}},
        "checkpoint": f"checkpoints/epoch_{epoch:04d}",
    }


def write_records(path: Path, records: list[dict[str, Any]]) -> Path:
    for record in records:
        append_line(path, record)
    return path


def realistic_run(path: Path, count: int, *, seed: int = 0, dry_run: bool = False) -> Path:
    """A run like those on real data: emotions improve long, other tasks overfit early; verdict has no targets."""
    generator = np.random.default_rng(seed)
    turning = {"emotion": 0.55, "bentham": 0.25, "regret": 0.15, "surd": 0.3}
    losses: dict[str, Any] = {}
    for module in MODULES:
        turn = turning.get(MODULE_TASK[module] or "", 0.35) * count
        epochs = np.arange(1.0, count + 1)
        shape = 0.6 + 0.4 * np.exp(-3 * epochs / max(turn, 1)) + 0.15 * np.maximum(0, epochs - 1.5 * turn) / count
        losses[module] = shape + 0.004 * generator.standard_normal(count)

    def numbers_at(position: int) -> Callable[[str], tuple[float | None, float | None]]:
        def numbers(module: str) -> tuple[float | None, float | None]:
            if module == "heads.verdict":
                return 0.0, None
            loss = float(losses[module][position])
            return loss, 0.9 - loss + 0.01 * float(generator.standard_normal())

        return numbers

    records = [
        epoch_record(
            position + 1,
            numbers_at(position),
            relative=0.0 if dry_run else 0.02 * math.exp(-2 * position / count),
            gradient=float(np.exp(0.3 * generator.standard_normal())),
        )
        for position in range(count)
    ]
    return write_records(path, [START | {"dry_run": dry_run}, *records])
