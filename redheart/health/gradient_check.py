"""The gradient check: autograd in float64 against central differences of the loss, for every tensor.

Two derivatives are compared per tensor. One along a direction in which every element moves, each by its own random amount
towards where its gradient points: a wrong element anywhere changes it. One of the single element with the largest gradient.
Float64 also settles what fp32 can't: there a gradient that mathematics cancels is 1e-16 of its terms, and no longer in doubt.
"""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from redheart.checkpoint.module_files import module_of
from redheart.health.dead_tensors import MIN_GRADIENT
from redheart.model.batch import Batch
from redheart.model.losses import compute_losses
from redheart.model.statistics import TargetStatistics

#: By how much a step should change the loss: rounding at 1e-16 is then a billionth of it.
CHANGE = 1e-7
#: No step is longer: the error of a central difference grows with the square of its length.
MAX_STEP = 1e-3
#: Largest relative difference of the two derivatives. A wrong sign, factor or missing path is of order 1.
TOLERANCE = 1e-5


class _Exact(TorchFunctionMode):
    """The loss as the function that autograd takes the derivative of.

    Casts to float32, which protect the model under bf16, are read as casts to float64. And what the model detaches is a
    constant to autograd, so it keeps the value that it had in the first pass, in whatever way weights are moved later.
    """

    def __init__(self, detached: list[Tensor], *, is_first: bool) -> None:
        super().__init__()
        self._detached, self._is_first, self._number = detached, is_first, 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is Tensor.float and args[0].is_floating_point():
            return args[0].double()
        if func is not Tensor.detach:
            return func(*args, **(kwargs or {}))
        if self._is_first:
            self._detached.append(func(*args))
        self._number += 1
        return self._detached[self._number - 1]


@dataclass(frozen=True)
class CheckedTensor:
    """One tensor's two comparisons.

    Attributes:
        relative_gradient: its float64 gradient's root mean square over the median of its group's.
        errors: relative differences: along a direction of all elements, and of the element with the largest gradient.
    """

    name: str
    relative_gradient: float
    errors: tuple[float, float]

    @property
    def is_right(self) -> bool:
        return self.relative_gradient >= MIN_GRADIENT and max(self.errors) <= TOLERANCE


class GradientSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A check in short, as a file has it; ``wrong``: the two errors of each tensor that is, by name."""

    tolerance: float
    tensors: int
    largest_relative_error: float
    smallest_relative_gradient: float
    wrong: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class GradientCheck:
    """All tensors of a model."""

    tensors: tuple[CheckedTensor, ...]

    @property
    def wrong(self) -> list[CheckedTensor]:
        return [tensor for tensor in self.tensors if not tensor.is_right]

    @property
    def largest_error(self) -> float:
        return max(max(tensor.errors) for tensor in self.tensors)

    def summary(self) -> GradientSummary:
        return GradientSummary(
            tolerance=TOLERANCE,
            tensors=len(self.tensors),
            largest_relative_error=self.largest_error,
            smallest_relative_gradient=min(tensor.relative_gradient for tensor in self.tensors),
            wrong={tensor.name: tensor.errors for tensor in self.wrong},
        )


def check_gradients(
    model: nn.Module,
    batch: Batch,
    statistics_: TargetStatistics,
    *,
    only: Collection[str] | None = None,
    seed: int = 0,
    progress: Callable[[], object] = lambda: None,
) -> GradientCheck:
    """Checks every parameter of ``model``, which stays as it is, on the loss of ``batch``, without dropout.

    Costs four forward passes per tensor in float64: meant for the smallest preset and a few situations.

    Args:
        only: names of the parameters to check; None: all.
        seed: of the directions.
        progress: called after each tensor.
    """
    exact = copy.deepcopy(model).cpu().double().eval()
    batch = batch.to("cpu")
    targets = {name: values.double() for name, values in batch.targets.items()}
    batch = replace(batch, segments=batch.segments.double(), targets=targets)

    detached: list[Tensor] = []

    def loss(*, is_first: bool = False) -> Tensor:
        with _Exact(detached, is_first=is_first):
            return compute_losses(exact(*batch.inputs), batch, statistics_).total

    parameters = dict(exact.named_parameters())
    found = torch.autograd.grad(loss(is_first=True), list(parameters.values()), allow_unused=True)
    gradients = {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for (name, parameter), gradient in zip(parameters.items(), found, strict=True)
    }
    sizes = {name: float(gradient.square().mean().sqrt()) for name, gradient in gradients.items()}
    generator = torch.Generator().manual_seed(seed)
    tensors = []
    with torch.no_grad():
        for name, parameter in parameters.items():
            if only is not None and name not in only:
                continue
            errors = [
                _relative_error(loss, parameter, gradients[name], direction)
                for direction in _directions(gradients[name], generator)
            ]
            median = _median_of_group(name, sizes)
            tensors.append(CheckedTensor(name, sizes[name] / median if median else 0.0, (errors[0], errors[1])))
            progress()
    return GradientCheck(tuple(tensors))


def _median_of_group(name: str, sizes: dict[str, float]) -> float:
    group = module_of(name).partition(".")[0]
    return statistics.median(
        [s for other, s in sizes.items() if s and module_of(other).partition(".")[0] == group] or [0.0]
    )


def _directions(gradient: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """Every element along its gradient's sign (at random where that is 0); then the largest element alone."""
    amounts = 0.5 + torch.rand(gradient.shape, generator=generator, dtype=gradient.dtype)
    coin = torch.where(torch.rand(gradient.shape, generator=generator) < 0.5, -1.0, 1.0).to(gradient.dtype)
    yield amounts * torch.where(gradient == 0, coin, gradient.sign())
    alone = torch.zeros_like(gradient)
    alone.view(-1)[gradient.abs().argmax()] = 1.0
    yield alone


def _relative_error(loss: Any, parameter: nn.Parameter, gradient: Tensor, direction: Tensor) -> float:
    derivative = float((gradient * direction).sum())
    step = min(MAX_STEP, CHANGE / max(abs(derivative), 1e-300))
    before = parameter.detach().clone()
    values = []
    for sign in (1.0, -1.0):
        parameter.copy_(before + sign * step * direction)
        values.append(float(loss()))
    parameter.copy_(before)
    difference = (values[0] - values[1]) / (2 * step)
    size = max(abs(difference), abs(derivative))
    return abs(difference - derivative) / size if size else math.inf
