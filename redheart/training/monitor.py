"""Does every module really change? Compared are sampled weights now and at the last look, weight decay set aside.

A parameter that gets no gradient is still shrunk by AdamW's decay, so the expected decay is taken out first: what
remains is the optimizer's own doing. A sample of rows and columns a tensor keeps this cheap at 730M parameters and
needs no second copy of the model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from redheart.checkpoint.epoch import module_of
from redheart.tasks import MODULES
from redheart.training.engine import Engine
from redheart.training.optimizer import decays, learning_rate_scales

SAMPLED = 128
#: Relative rounding a step of decay leaves in fp32; a real AdamW update is orders of magnitude above it.
ROUNDING_A_STEP = 2.4e-7


def _sampled(size: int) -> Tensor:
    return torch.linspace(0, size - 1, min(size, SAMPLED)).round().long()


def sample_of(weight: Tensor) -> Tensor:
    """At most 128 × 128 evenly spread weights, as ``(rows, columns)`` in fp32 on the CPU; a vector is one column."""
    rows = weight.reshape(len(weight), -1) if weight.dim() else weight.reshape(1, 1)
    return (
        rows[_sampled(rows.shape[0]).to(rows.device)][:, _sampled(rows.shape[1]).to(rows.device)]
        .detach()
        .float()
        .cpu()
        .clone()
    )


@dataclass
class UpdateReport:
    """One look.

    Attributes:
        relative: ‖Δw‖ / ‖w‖ a module over the sampled weights, decay taken out.
        dead_fraction: share of the sampled rows a module in which nothing changed.
        unchanged_tensors: names of tensors in which nothing changed.
        steps: optimizer steps since the look before.
    """

    steps: int
    relative: dict[str, float] = field(default_factory=dict)
    dead_fraction: dict[str, float] = field(default_factory=dict)
    unchanged_tensors: list[str] = field(default_factory=list)

    def unchanged_modules(self, threshold: float) -> list[str]:
        """Modules whose relative update is at most ``threshold``."""
        return [module for module, relative in self.relative.items() if relative <= threshold]


class UpdateMonitor:
    """Holds the samples of the last look. Looking is collective under ZeRO: every process must do it."""

    def __init__(self, engine: Engine, weight_decay: float) -> None:
        self._engine = engine
        self._weight_decay = weight_decay
        self._scales = learning_rate_scales(engine.unwrapped, engine.config.training)
        self._start_counting()
        self._before = self._samples()

    def _start_counting(self) -> None:
        self._steps = 0
        #: What weight decay alone has left of a weight, by what its learning rate is multiplied by.
        self._decay = dict.fromkeys(self._scales.values(), 1.0)

    def _parameters(self) -> list[tuple[str, nn.Parameter]]:
        return list(self._engine.unwrapped.named_parameters())

    def _samples(self) -> dict[str, Tensor]:
        return {name: sample_of(self._engine.whole_parameter(parameter)) for name, parameter in self._parameters()}

    def to_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What a run that is stopped between two looks needs so that the next one sees all steps since the last."""
        return dict(self._before), {"steps": self._steps, "decay": [[*item] for item in self._decay.items()]}

    def restore(self, before: dict[str, Tensor], counters: dict[str, Any]) -> None:
        """The inverse of ``to_state``."""
        self._before, self._steps = dict(before), int(counters["steps"])
        decay = counters["decay"]  # one number in a state of before layers could learn at rates of their own
        self._decay = dict(decay) if isinstance(decay, list) else {1.0: decay}

    def stepped(self, learning_rate: float) -> None:
        """Tells of an optimizer step that was taken."""
        self._steps += 1
        for scale in self._decay:
            self._decay[scale] *= 1.0 - learning_rate * scale * self._weight_decay

    def look(self) -> UpdateReport:
        """Compares with the last look and starts counting anew."""
        now = self._samples()
        decaying = {name for name, parameter in self._parameters() if decays(parameter)}
        moved, size, rows, dead = ({module: 0.0 for module in MODULES} for _ in range(4))
        report = UpdateReport(steps=self._steps)
        for name, weight in now.items():
            module = module_of(name)
            before = self._before[name]
            factor = self._decay[self._scales[name]] if name in decaying and self._steps else 1.0
            change = weight - before * factor
            rounding = ROUNDING_A_STEP * self._steps * before.abs() if factor != 1.0 else torch.zeros_like(before)
            # A weight that the optimizer does not hold, or that got no gradient at all, does not even decay.
            is_still = (change.abs() <= rounding) | weight.eq(before)
            change = torch.where(is_still, torch.zeros_like(change), change)
            still = ~change.ne(0).any(dim=1)
            if bool(still.all()):
                report.unchanged_tensors.append(name)
            moved[module] += float(change.double().square().sum())
            size[module] += float(before.double().square().sum())
            rows[module] += len(still)
            dead[module] += int(still.sum())
        for module in MODULES:
            report.relative[module] = (moved[module] / size[module]) ** 0.5 if size[module] else 0.0
            report.dead_fraction[module] = dead[module] / rows[module] if rows[module] else 1.0
        self._before = now
        self._start_counting()
        return report
