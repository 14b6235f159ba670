"""What an epoch leaves in ``metrics.jsonl``: sums over its steps, and the line that is made of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from redheart.evaluation.evaluate import Evaluation
from redheart.health.update_monitor import UpdateReport
from redheart.storage import read_lines
from redheart.tasks import MODULES
from redheart.training.step import TERM_NAMES, Step

METRICS = "metrics.jsonl"


@dataclass
class EpochSums:
    """Running sums over the steps of an epoch; stored in the cursor so that a resumed epoch reports whole numbers."""

    situations: int = 0
    loss: float = 0.0
    terms: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TERM_NAMES, 0.0))
    norms: list[float] = field(default_factory=list)
    module_norms: dict[str, list[float]] = field(default_factory=lambda: {module: [] for module in MODULES})
    moved: dict[str, float] = field(default_factory=lambda: dict.fromkeys(MODULES, 0.0))
    dead: dict[str, float] = field(default_factory=dict)
    updates: int = 0
    seconds: float = 0.0

    def add(self, step: Step) -> None:
        if math.isfinite(step.loss):
            self.situations += step.situations
            self.loss += step.loss * step.situations
            for name, value in step.terms.items():
                self.terms[name] = self.terms.get(name, 0.0) + value * step.situations
        if step.gradient_norm is not None:
            self.norms.append(step.gradient_norm)
        for module, value in step.module_norms.items():
            self.module_norms[module].append(value)
        self.updates += step.updated

    def add_look(self, report: UpdateReport) -> None:
        """Updates of several looks add up like steps of a walk; a row is dead only if no look saw it move."""
        for module in report.relative:
            self.moved[module] = math.hypot(self.moved[module], report.relative[module])
            self.dead[module] = min(self.dead.get(module, 1.0), report.dead_fraction[module])

    def train_record(self) -> dict[str, Any]:
        count = max(1, self.situations)
        return {"loss": self.loss / count, "terms": {name: value / count for name, value in self.terms.items()}}

    def gradient_record(self) -> dict[str, Any]:
        modules = {
            module: {"mean": float(np.mean(values)), "std": float(np.std(values)), "max": float(np.max(values))}
            for module, values in self.module_norms.items()
            if values
        }
        mean = {"total_norm_mean": float(np.mean(self.norms))} if self.norms else {}
        return {**mean, "modules": modules}

    def update_record(self) -> dict[str, Any]:
        return {
            "modules": {
                module: {"relative": self.moved[module], "dead_fraction": self.dead.get(module, 1.0)}
                for module in MODULES
            }
        }


def evaluation_record(evaluation: Evaluation) -> dict[str, Any]:
    """What of an evaluation goes into the epoch's line."""
    return {
        "count": evaluation.count,
        "loss": evaluation.loss,
        "terms": evaluation.terms,
        "tasks": evaluation.tasks,
        "modules": evaluation.modules,
    }


def training_metrics(output: Path) -> list[dict[str, Any]]:
    """The epochs' records of ``output``; of an epoch that was written twice, the later."""
    by_epoch = {line["epoch"]: line for line in read_lines(output / METRICS) if line.get("kind") == "epoch"}
    return [by_epoch[epoch] for epoch in sorted(by_epoch)]
