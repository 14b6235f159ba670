"""Ways for a part of a model not to train, and the names that must be found for each. They act under every engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from redheart.model import UnifiedModel
from redheart.training import trainer as trainer_module
from redheart.training.optimizer import build_optimizer


@dataclass(frozen=True)
class Plant:
    """One way.

    Attributes:
        plant: changes a fresh model before its optimizer is built.
        dead: by tensor, the faults that must be found.
        rows: by tensor, the rows that must be found dead.
        outside: tensors to be kept out of the optimizer.
    """

    plant: Callable[[UnifiedModel], object]
    dead: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rows: dict[str, range] = field(default_factory=dict)
    outside: tuple[str, ...] = ()


def detach(module: nn.Module) -> object:
    return module.register_forward_hook(lambda _, inputs, output: output.detach())


def _times_zero(module: nn.Module) -> object:
    return module.register_forward_hook(lambda _, inputs, output: output * 0.0)


def _half_unused(module: nn.Module) -> object:
    def keep_half(_: nn.Module, inputs: object, output: Tensor) -> Tensor:
        used, unused = output.chunk(2, dim=-1)
        return torch.cat((used, torch.zeros_like(unused)), dim=-1)

    return module.register_forward_hook(keep_half)


def shift_before_norm(model: UnifiedModel) -> object:
    """The same number added to every feature: a norm subtracts it with their mean.

    The gradient of a single number is a sum over all features and situations, and so is its rounding error: in fp32 it
    passes for a small gradient, and only float64 tells.
    """
    head = model.heads["regret"]
    head.shift = nn.Parameter(torch.zeros(1))
    return head.norm.register_forward_pre_hook(lambda _, inputs: (inputs[0] + head.shift,))


def key_bias(model: UnifiedModel) -> object:
    """A bias on an attention's keys: a softmax gives the same for all keys shifted alike."""
    attention = model.neural_analyzers["surd"].blocks[0].attention
    width = attention.query_key_value.in_features
    attention.key_bias = nn.Parameter(torch.zeros(width))

    def add(_: nn.Module, inputs: object, output: Tensor) -> Tensor:
        query, key, value = output.chunk(3, dim=-1)
        return torch.cat((query, key + attention.key_bias, value), dim=-1)

    return attention.query_key_value.register_forward_hook(add)


WIDTH = 96
UNUSED = range(WIDTH // 2, WIDTH)
PLANTS = {
    "a parameter that the optimizer does not hold": Plant(
        lambda model: None,
        {"phases.integrate.weight": ("not_held", "no_update"), "heads.surd.norm.bias": ("not_held", "no_update")},
        outside=("phases.integrate.weight", "heads.surd.norm.bias"),
    ),
    "a detached branch": Plant(
        lambda model: detach(model.dsp_simulator.summarise),
        dict.fromkeys(("dsp_simulator.summarise.weight", "dsp_simulator.summarise.bias"), ("no_gradient", "no_update")),
    ),
    "a branch multiplied by zero, moved by weight decay alone": Plant(
        lambda model: _times_zero(model.kalman_filter.summarise),
        dict.fromkeys(("kalman_filter.summarise.weight", "kalman_filter.summarise.bias"), ("no_gradient", "no_update")),
    ),
    "a bias that a softmax cancels": Plant(
        key_bias, {"neural_analyzers.surd.blocks.0.attention.key_bias": ("faint_gradient",)}
    ),
    "half of a matrix's outputs unused": Plant(
        lambda model: _half_unused(model.advanced_wrappers["bentham"].combine),
        rows=dict.fromkeys(
            ("advanced_wrappers.bentham.combine.weight", "advanced_wrappers.bentham.combine.bias"), UNUSED
        ),
    ),
}


def _plant_everything(model: UnifiedModel) -> None:
    for one in PLANTS.values():
        one.plant(model)


ALL_AT_ONCE = Plant(
    _plant_everything,
    {name: faults for one in PLANTS.values() for name, faults in one.dead.items()},
    {name: rows for one in PLANTS.values() for name, rows in one.rows.items()},
    tuple(name for one in PLANTS.values() for name in one.outside),
)


def plant_in_all(patch: pytest.MonkeyPatch, plant: Plant) -> None:
    """Every training that starts while ``patch`` holds has it."""
    original = UnifiedModel.__init__

    def init(self: UnifiedModel, config: Any, statistics: Any) -> None:
        original(self, config, statistics)
        plant.plant(self)

    def build(model: UnifiedModel, learning_rate: float, config: Any) -> torch.optim.Optimizer:
        optimizer = build_optimizer(model, learning_rate, config)
        leave_out(optimizer, model, plant)
        return optimizer

    patch.setattr(UnifiedModel, "__init__", init)
    patch.setattr(trainer_module, "build_optimizer", build)


def leave_out(optimizer: torch.optim.Optimizer, model: UnifiedModel, plant: Plant) -> None:
    """Takes the parameters out of the optimizer that are to be outside."""
    outside = {id(parameter) for name, parameter in model.named_parameters() if name in plant.outside}
    for group in optimizer.param_groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in outside]
