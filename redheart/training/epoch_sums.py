"""Sums over the steps of an epoch, and the parts of its record that follow from them."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from redheart.health.update_monitor import UpdateReport
from redheart.tasks import MODULES
from redheart.training.records import GradientRecord, ModuleUpdate, NormSpread, TrainLosses, UpdateRecord
from redheart.training.step_result import TERM_NAMES, Step


class EpochSums(msgspec.Struct):
    """Running sums over the steps of an epoch; stored in the cursor so that a resumed epoch reports whole numbers."""

    situations: int = 0
    loss: float = 0.0
    terms: dict[str, float] = msgspec.field(default_factory=lambda: dict.fromkeys(TERM_NAMES, 0.0))
    norms: list[float] = []
    module_norms: dict[str, list[float]] = msgspec.field(default_factory=lambda: {module: [] for module in MODULES})
    moved: dict[str, float] = msgspec.field(default_factory=lambda: dict.fromkeys(MODULES, 0.0))
    dead: dict[str, float] = {}
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

    def add_check(self, report: UpdateReport) -> None:
        """Updates of several checks add up like steps of a walk; a row is dead only if no check saw it move."""
        for module in report.relative:
            self.moved[module] = math.hypot(self.moved[module], report.relative[module])
            self.dead[module] = min(self.dead.get(module, 1.0), report.dead_fraction[module])

    def train_record(self) -> TrainLosses:
        count = max(1, self.situations)
        return TrainLosses(loss=self.loss / count, terms={name: value / count for name, value in self.terms.items()})

    def gradient_record(self) -> GradientRecord:
        modules = {
            module: NormSpread(mean=float(np.mean(values)), std=float(np.std(values)), max=float(np.max(values)))
            for module, values in self.module_norms.items()
            if values
        }
        return GradientRecord(total_norm_mean=float(np.mean(self.norms)) if self.norms else None, modules=modules)

    def update_record(self) -> UpdateRecord:
        return UpdateRecord(
            modules={
                module: ModuleUpdate(relative=self.moved[module], dead_fraction=self.dead.get(module, 1.0))
                for module in MODULES
            }
        )
