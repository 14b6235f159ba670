"""Activation checkpointing: less is kept for the backward pass, and no bit of a number changes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from redheart.model import Outputs, UnifiedModel, compute_losses, dimensions
from redheart.model.modules.activation_checkpointing import recompute_blocks
from redheart.model.modules.blocks import CrossBlock, EncoderBlock
from tests.model.conftest import fit, make_batch


def build(*, dropout: float, recompute: bool) -> UnifiedModel:
    torch.manual_seed(0)
    model = UnifiedModel(dimensions("tiny", d_embed=48, dropout=dropout), fit(make_batch()))
    recompute_blocks(model, recompute)
    return model.train()


def step(model: UnifiedModel) -> tuple[Outputs, dict[str, Tensor]]:
    """A forward and a backward pass with dropout of seed 1: outputs and gradients."""
    batch = make_batch()
    torch.manual_seed(1)
    outputs = model(*batch.inputs)
    compute_losses(outputs, batch, model.statistics).total.backward()
    return outputs, {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_outputs_and_gradients_are_the_same_to_the_bit(dropout: float) -> None:
    (outputs, gradients), (again, recomputed) = (step(build(dropout=dropout, recompute=on)) for on in (False, True))
    for one, other in zip(outputs, again, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert gradients.keys() == recomputed.keys() and len(gradients) > 100
    assert all(torch.equal(gradients[name], recomputed[name]) for name in gradients)


def test_every_block_is_computed_twice_in_a_training_step_and_once_where_no_gradient_is_asked_for() -> None:
    model = build(dropout=0.1, recompute=True)
    calls: dict[str, int] = {}
    for name, module in model.named_modules():
        if isinstance(module, (EncoderBlock, CrossBlock)):
            calls[name] = 0

            def count(*_: object, name: str = name) -> None:
                calls[name] += 1

            module.feed_forward.norm.register_forward_hook(count)
    step(model)
    assert len(calls) == 10 and set(calls.values()) == {2}
    with torch.no_grad():
        model(*make_batch().inputs)
    assert set(calls.values()) == {3}


def kept_bytes(model: UnifiedModel) -> int:
    """What a forward pass keeps for the backward pass, weights aside: each storage once."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}
    held: list[Tensor] = []  # an address must not be used for another tensor before it was counted

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            held.append(tensor)
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    batch = make_batch(longest=16)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = model(*batch.inputs)
    assert outputs.predictions["emotion"].requires_grad
    return sum(kept.values())


def test_less_than_half_is_kept_for_the_backward_pass() -> None:
    whole, inputs = (kept_bytes(build(dropout=0.1, recompute=on)) for on in (False, True))
    assert inputs < 0.5 * whole
