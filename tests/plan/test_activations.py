"""Counted activations against what real passes keep, and against what a GPU was measured to take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from redheart.machine import Precision
from redheart.model import TargetStatistics, UnifiedModel, dimensions
from redheart.model.modules.activation_checkpointing import recompute_blocks
from redheart.plan.activations import count_activations
from redheart.plan.model_size import COUNTED
from tests.model.conftest import make_batch

MEASURED = Path(__file__).parents[2] / "benchmarks" / "results" / "gpu_train_step.json"


def really_kept(precision: Precision, situations: int, *, recomputes: bool) -> int:
    """Bytes of storages that a real forward pass of ``tiny`` keeps, parameters aside."""
    torch.manual_seed(0)
    model = UnifiedModel(dimensions("tiny", d_embed=48), TargetStatistics.neutral()).train()
    recompute_blocks(model, recomputes)
    batch = make_batch(situations, longest=8)
    mask = torch.ones_like(batch.inputs[1])
    parameters = {one.untyped_storage().data_ptr() for one in model.parameters()}
    kept: dict[int, tuple[int, torch.Tensor]] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that no other takes its place
        return tensor

    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    with saved_tensors_hooks(note, lambda tensor: tensor), autocast:
        model(batch.inputs[0], mask, *batch.inputs[2:])
    return sum(size for size, _ in kept.values())


@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.parametrize("recomputes", [False, True])
def test_counted_is_what_a_real_pass_keeps(precision: Precision, recomputes: bool) -> None:
    counted = count_activations(dimensions("tiny", d_embed=48), precision=precision, recomputes=recomputes, segments=8)
    three, seven = (really_kept(precision, situations, recomputes=recomputes) for situations in (3, 7))
    assert counted.a_situation == pytest.approx((seven - three) / 4, rel=0.01)
    if not recomputes:  # autocast's copies of weights are there though blocks do not keep them
        assert counted.once + 7 * counted.a_situation == pytest.approx(seven, rel=0.01)


@pytest.mark.parametrize("recomputes", [False, True])
def test_weights_moments_and_activations_of_730m_are_what_an_h100_was_measured_to_take(recomputes: bool) -> None:
    """Plain, bf16, 16 segments: fp32 weights and two moments, and what is larger of activations and gradients."""
    stored = json.loads(MEASURED.read_text())["gpu"]
    states, gradients = 12 * stored["model"]["parameters"], 4 * stored["model"]["parameters"]
    counted = COUNTED["730m", True].activations(stored["segments"], recomputes=recomputes)
    subject = "model, eager, checkpointed" if recomputes else "model, eager"
    rows = {row["situations"]: row["peak_bytes"] for row in stored["rows"] if row["subject"] == subject}
    assert rows
    for situations, measured in rows.items():
        assert states + max(gradients, counted.peak(situations)) == pytest.approx(measured, rel=0.05), situations
