"""Gradient norms by module at a step: one walk over the gradients, which others may watch; clipping reads the same norms."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from redheart.checkpoint.module_files import module_of
from redheart.engine.contract import Engine
from redheart.tasks import MODULES

#: Asked for every parameter at every step.
_module_of = functools.cache(module_of)


class GradientWatcher(Protocol):
    """Sees every gradient of a step in passing, so that each is gathered only once."""

    def start_of_gradients(self) -> None:
        """Those of another step come now."""

    def see_gradient(self, name: str, gradient: Tensor | None) -> None:
        """One whole gradient, in its parameter's shape; None where there is none. Nothing collective may be done in it."""


@dataclass(frozen=True)
class MeasuredGradients:
    """What one walk over the gradients found, still on the device.

    Attributes:
        names: of the parameters that have a gradient.
        norms: (names,) fp32, each one's Euclidean norm.
    """

    names: list[str]
    norms: Tensor


@dataclass(frozen=True)
class GradientNorms:
    """Norms by module.

    Attributes:
        modules: Euclidean norm of each module's gradient.
    """

    modules: dict[str, float]

    @classmethod
    def of(cls, names: Sequence[str], values: Sequence[float]) -> GradientNorms:
        """Groups the parameters' norms."""
        squares = dict.fromkeys(MODULES, 0.0)
        for name, value in zip(names, values, strict=True):
            squares[_module_of(name)] += value * value
        return cls({module: math.sqrt(square) for module, square in squares.items()})

    @property
    def total(self) -> float:
        """The norm over all parameters; not finite where any gradient is not."""
        return math.sqrt(sum(value * value for value in self.modules.values()))


def measure_gradients(engine: Engine, watchers: Sequence[GradientWatcher] = ()) -> MeasuredGradients:
    """Walks over all whole gradients after a step's last backward pass. Collective under ZeRO, or with ``watchers``.

    Where they lie whole in every process all norms are taken at once; else each while it is gathered.

    Raises:
        TrainingError: a watcher's.
    """
    names: list[str] = []
    norms: list[Tensor] = []
    whole: list[Tensor] = []
    for watcher in watchers:
        watcher.start_of_gradients()
    for name, gradient in engine.gradients():
        if gradient is not None:
            names.append(name)
            if engine.gradients_are_local:
                whole.append(gradient.detach())
            else:
                norms.append(gradient.detach().float().norm())
        for watcher in watchers:
            watcher.see_gradient(name, gradient)
    if whole:
        norms = list(torch._foreach_norm(whole))
    return MeasuredGradients(names, torch.stack(norms) if norms else torch.empty(0, device=engine.device))
