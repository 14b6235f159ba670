"""Gradient norms by module at a step: one walk over the gradients, which others may watch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from redheart.checkpoint.module_files import module_of
from redheart.engine.contract import Engine
from redheart.tasks import MODULES


class GradientWatcher(Protocol):
    """Sees every gradient of a step in passing, so that each is gathered only once."""

    def start_of_gradients(self) -> None:
        """Those of another step come now."""

    def see_gradient(self, name: str, gradient: Tensor | None) -> None:
        """One whole gradient, in its parameter's shape; None where there is none. Nothing collective may be done in it."""

    def end_of_gradients(self) -> None:
        """All were seen; the step is not taken yet. Collective."""


@dataclass(frozen=True)
class GradientNorms:
    """What one walk over the gradients found.

    Attributes:
        modules: Euclidean norm of each module's gradient.
    """

    modules: dict[str, float]

    @property
    def total(self) -> float:
        """The norm over all parameters; not finite where any gradient is not."""
        return math.sqrt(sum(value * value for value in self.modules.values()))


def measure_gradients(engine: Engine, watchers: Sequence[GradientWatcher] = ()) -> GradientNorms:
    """Walks over all whole gradients after a step's last backward pass. Collective under ZeRO, or with ``watchers``.

    Raises:
        TrainingError: a watcher's.
    """
    names: list[str] = []
    norms: list[Tensor] = []
    for watcher in watchers:
        watcher.start_of_gradients()
    for name, gradient in engine.gradients():
        if gradient is not None:
            names.append(name)
            norms.append(gradient.detach().float().norm())  # a watcher changes no bit of a number
        for watcher in watchers:
            watcher.see_gradient(name, gradient)
    for watcher in watchers:
        watcher.end_of_gradients()
    modules = dict.fromkeys(MODULES, 0.0)
    for name, value in zip(names, torch.stack(norms).tolist() if norms else [], strict=True):
        modules[module_of(name)] += value * value
    return GradientNorms({module: math.sqrt(square) for module, square in modules.items()})
