"""Counted operations against those that PyTorch's own counter sees in real passes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from redheart.model import ModelDimensions, TargetStatistics, UnifiedModel, compute_losses, dimensions, meta_model
from redheart.model.flops import count_flops
from redheart.model.modules.activation_checkpointing import recompute_blocks
from redheart.tasks import MODULES
from tests.model.conftest import make_batch

TINY = dimensions("tiny", d_embed=48)


def counted(dims: ModelDimensions = TINY, *, backward: bool = False, recompute: bool = False) -> FlopCounterMode:
    """A real pass over four situations of nine segments. Attention as plain products: its CPU kernel is in no registry."""
    model = UnifiedModel(dims, TargetStatistics.neutral())
    recompute_blocks(model, recompute)
    batch = make_batch(4, longest=9)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, depth=2) as counter:
        outputs = model(*batch.inputs)
        if backward:
            compute_losses(outputs, batch, model.statistics).total.backward()
    return counter


def test_each_module_and_the_whole_have_the_operations_of_a_real_forward_pass() -> None:
    found, real = count_flops(TINY, situations=4, segments=9), counted()
    assert found.total == pytest.approx(real.get_total_flops(), rel=0.01)
    assert tuple(found.by_module) == MODULES
    for name, operations in found.by_module.items():
        measured = sum(real.get_flop_counts()[f"UnifiedModel.{name}"].values())
        assert operations == pytest.approx(measured, rel=0.01), name
    assert found.per_situation == found.total / 4


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_training_step_has_those_of_a_real_one(checkpointing: bool) -> None:
    """Within 2 %: nobody asks for the gradient of the vectors, so the first layers' backward pass is one product. Without
    the smoother, whose backward pass through a factorisation is more than two products; at 730m it is nothing beside them."""
    dims = replace(TINY, without=("kalman_filter",))
    found = count_flops(dims, situations=4, segments=9).training_step(activation_checkpointing=checkpointing)
    real = counted(dims, backward=True, recompute=checkpointing).get_total_flops()
    assert real <= found < 1.02 * real


def test_checkpointing_at_730m_is_nearly_a_fourth_forward_pass() -> None:
    found = count_flops(dimensions("730m"), situations=8)
    assert found.training_step() == 3 * found.total
    assert 3.9 * found.total < found.training_step(activation_checkpointing=True) < 4 * found.total


def test_the_730m_model_does_about_two_operations_a_weight_and_segment() -> None:
    """Weights of the heads, which see one vector a situation and not sixteen, do less."""
    weights = sum(parameter.numel() for parameter in meta_model(dimensions("730m")).parameters())
    found = count_flops(dimensions("730m"), situations=8)
    assert 0.6 < found.per_situation / (2 * 16 * weights) < 1.0


def test_groups_that_were_left_out_do_nothing() -> None:
    whole = count_flops(TINY)
    part = count_flops(replace(TINY, without=("advanced_wrappers",)))
    assert "advanced_wrappers.emotion" not in part.by_module
    wrappers = sum(count for name, count in whole.by_module.items() if name.startswith("advanced_wrappers"))
    assert whole.total - part.total == wrappers


def test_twice_the_segments_are_about_twice_the_operations() -> None:
    short, long = (count_flops(dimensions("730m"), segments=segments).total for segments in (8, 16))
    assert 1.8 < long / short < 2.1
