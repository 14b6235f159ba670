"""The update monitor: how much each module's weights have changed since the last check, on a sample of each tensor."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from redheart.checkpoint.module_files import module_of
from redheart.engine.contract import Engine
from redheart.health.weight_changes import ChangesState, WeightChanges, sample_of
from redheart.tasks import MODULES


@dataclass
class UpdateReport:
    """What one check found.

    Attributes:
        relative: ‖Δw‖ / ‖w‖ per module over the sampled weights, decay taken out.
        dead_fraction: fraction of each module's sampled rows in which nothing changed.
        unchanged_tensors: names of tensors in which nothing changed.
        steps: optimizer steps since the check before.
    """

    steps: int
    relative: dict[str, float] = field(default_factory=dict)
    dead_fraction: dict[str, float] = field(default_factory=dict)
    unchanged_tensors: list[str] = field(default_factory=list)

    def unchanged_modules(self, threshold: float) -> list[str]:
        """Modules whose relative update is at most ``threshold``."""
        return [module for module, relative in self.relative.items() if relative <= threshold]


class UpdateMonitor:
    """Holds the samples of the last check. A check is collective under ZeRO: every process must make it."""

    def __init__(self, engine: Engine) -> None:
        self._changes = WeightChanges(engine, sample_of)
        there = {module_of(name) for name, _ in engine.unwrapped.named_parameters()}
        self._modules = [module for module in MODULES if module in there]

    def to_state(self) -> tuple[dict[str, Tensor], ChangesState]:
        """What a run that is stopped between two checks needs so that the next one sees all steps since the last."""
        return self._changes.to_state()

    def restore(self, before: dict[str, Tensor], state: ChangesState) -> None:
        """The inverse of ``to_state``."""
        self._changes.restore(before, state)

    def stepped(self) -> None:
        """Tells of an optimizer step that was just taken."""
        self._changes.stepped()

    def check(self) -> UpdateReport:
        """Compares with the last check and starts counting anew."""
        moved, size, rows, dead = ({module: 0.0 for module in self._modules} for _ in range(4))
        report = UpdateReport(steps=self._changes.steps)
        for change in self._changes.compare():
            module = module_of(change.name)
            if bool(change.still.all()):
                report.unchanged_tensors.append(change.name)
            moved[module] += change.moved
            size[module] += change.before
            rows[module] += len(change.still)
            dead[module] += int(change.still.sum())
        for module in self._modules:
            report.relative[module] = (moved[module] / size[module]) ** 0.5 if size[module] else 0.0
            report.dead_fraction[module] = dead[module] / rows[module] if rows[module] else 1.0
        return report
