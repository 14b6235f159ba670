"""Each module's gradient norm at a step, and, where the liveness probe watches, each tensor's rows: one walk over both."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from redheart.checkpoint.epoch import module_of
from redheart.engine.engine import Engine
from redheart.errors import TrainingError
from redheart.health.liveness import LivenessProbe
from redheart.tasks import MODULES


@dataclass(frozen=True)
class GradientNorms:
    """What one walk over the gradients found.

    Attributes:
        modules: Euclidean norm of each module's gradient.
        rows: (outputs,) by tensor: norms of its gradient's rows; empty without a probe.
    """

    modules: dict[str, float]
    rows: dict[str, Tensor]

    @property
    def total(self) -> float:
        """The norm over all parameters; not finite where any gradient is not."""
        return math.sqrt(sum(value * value for value in self.modules.values()))


def measure_gradients(engine: Engine, probe: LivenessProbe | None) -> GradientNorms:
    """Walks over all whole gradients after a step's last backward pass. Collective under ZeRO.

    Raises:
        TrainingError: several processes without ZeRO, and a tensor without any gradient, in a first step: the exchange of
            gradients waits for it forever. Every process raises it.
    """
    names: list[str] = []
    norms: list[Tensor] = []
    rows: dict[str, Tensor] = {}
    missing: list[str] = []
    for name, gradient in engine.gradients():
        if gradient is None:
            missing.append(name)
            continue
        names.append(name)
        norms.append(gradient.detach().float().norm())  # not from the rows: a probe changes no bit of a number
        if probe is not None:
            rows[name] = probe.row_norms(name, gradient)
    if probe is not None and probe.observed == 0 and engine.kind == "plain" and engine.world_size > 1:
        _refuse_missing(engine, missing)
    modules = dict.fromkeys(MODULES, 0.0)
    for name, value in zip(names, torch.stack(norms).tolist() if norms else [], strict=True):
        modules[module_of(name)] += value * value
    return GradientNorms({module: math.sqrt(square) for module, square in modules.items()}, rows)


def _refuse_missing(engine: Engine, missing: list[str]) -> None:
    held = [name for name in missing if name in engine.held]
    if engine.any_rank(bool(held)):
        raise TrainingError(
            f"no gradient came to {', '.join(held[:8]) or 'a tensor of another process'}"
            f"{', …' if len(held) > 8 else ''}: nothing of it reaches the loss, and training in several processes waits "
            f"for every gradient. Look at the model with `redheart doctor liveness`"
        )
