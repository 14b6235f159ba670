"""Autograd's gradients are those of the loss; a wrong one is found, and one that only rounding makes is."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from redheart.health.gradient_check import TOLERANCE, check_gradients
from redheart.model import UnifiedModel, dimensions
from tests.training.planted import shift_before_norm


@pytest.fixture
def model(table):
    torch.manual_seed(0)
    statistics = table.statistics(table.split_indices["train"])
    return UnifiedModel(dimensions("tiny", d_embed=table.d_embed), statistics)


def check(model, table, **settings):
    situations = table.split_indices["train"][:2]
    return check_gradients(model, table.batch(situations), model.statistics, **settings)


@pytest.mark.slow
def test_every_tensors_gradient_is_the_losses_derivative(model, table):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    checked = check(model, table)
    assert [tensor.name for tensor in checked.wrong] == []
    assert {tensor.name for tensor in checked.tensors} == {name for name, _ in model.named_parameters()}
    assert 0 < checked.largest_error < TOLERANCE
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


class _Exaggerated(torch.autograd.Function):
    """The identity, with a gradient that is a thousandth too large."""

    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient * 1.001


class _Wrong(nn.Linear):
    def forward(self, x):
        return F.linear(x, _Exaggerated.apply(self.weight), self.bias)


def test_a_gradient_that_is_a_thousandth_off_is_found(model, table):
    model.heads["surd"].combine.__class__ = _Wrong
    names = [name for name, _ in model.named_parameters() if name.startswith("heads.surd.")]
    checked = check(model, table, only=names)
    assert [tensor.name for tensor in checked.wrong] == ["heads.surd.combine.weight"]
    assert checked.wrong[0].errors == pytest.approx((1e-3, 1e-3), rel=0.01)


def test_what_fp32_leaves_in_doubt_float64_settles(model, table):
    """A norm cancels the shift: what is left is rounding, here 1e-10 of anything else."""
    shift_before_norm(model)
    names = [name for name, _ in model.named_parameters() if name.startswith("heads.regret.")]
    checked = check(model, table, only=names)
    assert [tensor.name for tensor in checked.wrong] == ["heads.regret.shift"]
    assert checked.wrong[0].relative_gradient < 1e-10


def test_what_the_model_detaches_is_a_constant_to_both(model, table):
    """A wrapper's loss is on its analyzer's detached prediction: the analyzer must not be blamed for it."""
    names = [f"neural_analyzers.{task}.predict.weight" for task in ("emotion", "surd")]
    assert check(model, table, only=names).wrong == []
