"""The compiled forward pass: one graph without a break for training, one for evaluation, whatever the batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from redheart.config import Config
from redheart.engine.compiled import compile_forward
from redheart.engine.factory import make_engine
from redheart.engine.plain import PlainEngine
from redheart.errors import ConfigError
from redheart.model import Batch, Outputs, TargetStatistics, UnifiedModel, compute_losses, dimensions
from redheart.model.modules.activation_checkpointing import recompute_blocks
from redheart.training.optimizer import build_optimizer
from tests.model.conftest import fit, make_batch


@pytest.fixture(autouse=True)
def no_graphs_of_others() -> Iterator[None]:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def build() -> UnifiedModel:
    torch.manual_seed(0)
    return UnifiedModel(dimensions("tiny", d_embed=48, dropout=0.0), fit(make_batch()))


def graphs() -> int:
    """Graphs that were compiled, after making sure that no forward pass fell into two."""
    assert not torch._dynamo.utils.counters["graph_break"]
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def step(model: UnifiedModel, batch: Batch) -> tuple[Outputs, dict[str, Tensor]]:
    model.zero_grad(set_to_none=True)
    outputs = model.train()(*batch.inputs)
    compute_losses(outputs, batch, model.statistics).total.backward()
    return outputs, {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def assert_near(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], atol=1e-5, rtol=1e-3, msg=name)


def assert_same_step(eager: UnifiedModel, compiled: UnifiedModel, batch: Batch) -> None:
    """Predictions and gradients of a training step."""
    (wanted, gradients), (found, own) = step(eager, batch), step(compiled, batch)
    assert_near(wanted.predictions, found.predictions)
    assert_near(wanted.auxiliary, found.auxiliary)
    assert_near(gradients, own)


@pytest.mark.slow
def test_forward_and_backward_are_one_graph_for_every_size_of_batch() -> None:
    eager, compiled = build(), build()
    compile_forward(compiled, backend="aot_eager")
    for situations, longest in ((16, 9), (5, 16), (1, 4)):
        assert_same_step(eager, compiled, make_batch(situations, longest=longest))
    assert graphs() == 1


@pytest.mark.slow
def test_evaluation_adds_one_graph_and_checkpointed_blocks_are_in_one_too() -> None:
    eager, compiled = build(), build()
    compile_forward(compiled, backend="eager")
    recompute_blocks(compiled)
    with torch.no_grad():
        for situations, longest in ((1, 5), (16, 9), (3, 16)):
            inputs = make_batch(situations, longest=longest).inputs
            assert_near(eager.eval()(*inputs).predictions, compiled.eval()(*inputs).predictions)
    assert graphs() == 1
    for situations in (6, 4):
        assert_same_step(eager, compiled, make_batch(situations))
    assert graphs() == 2

    other = copy.deepcopy(compiled).eval()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
        inputs = make_batch(3).inputs
        one, half = compiled.eval()(*inputs).predictions, other(*inputs).predictions
    assert not torch.allclose(one["bentham"], half["bentham"], atol=1e-3), "a copy predicts with its own weights"
    assert graphs() == 2, "and needs no graph of its own"


def test_the_setting_compiles_in_place_and_is_refused_where_no_graph_can_be_made(
    settings: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which engine that is, is a check of ``test_contract.py``."""
    config = settings(compile=True, activation_checkpointing=True)
    model = UnifiedModel(dimensions("tiny", d_embed=16), TargetStatistics.neutral())
    names, plain = list(model.state_dict()), model.forward
    engine = make_engine(config)
    engine.prepare(model, build_optimizer(model, 1e-3, config.training))
    assert model.forward != plain and list(model.state_dict()) == names
    assert all(block.recomputes for block in model.backbone.blocks)
    monkeypatch.setattr(PlainEngine, "is_compilable", False)
    monkeypatch.setattr(PlainEngine, "_why_not_compilable", lambda _: "not under this one")
    with pytest.raises(ConfigError, match="not under this one"):
        engine.prepare(model, build_optimizer(model, 1e-3, config.training))


def test_off_is_off(settings: Callable[..., Config]) -> None:
    config = settings()
    model = UnifiedModel(dimensions("tiny", d_embed=16), TargetStatistics.neutral())
    recompute_blocks(model)
    plain = model.forward
    make_engine(config).prepare(model, build_optimizer(model, 1e-3, config.training))
    assert model.forward == plain and not any(block.recomputes for block in model.backbone.blocks)
