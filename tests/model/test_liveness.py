"""Every parameter is alive on structured random situations, by the criteria that trainings are held to."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from redheart.health.data_coverage import DataCoverage
from redheart.health.dead_tensors import Measured, judge
from redheart.health.untrainable import Untrainable
from redheart.model import TargetStatistics, UnifiedModel, compute_losses, dimensions
from redheart.model.rows import as_rows, input_axes
from tests.model.conftest import fit, make_batch


def find_dead(model: nn.Module, statistics: TargetStatistics, batches: int = 4) -> set[str]:
    """Names of the parameters that are dead or have dead rows, over a few steps of Adam without weight decay."""
    axes = input_axes(model)
    before = {name: as_rows(parameter, axes[name]).detach().clone() for name, parameter in model.named_parameters()}
    squares = {name: torch.zeros(len(rows), dtype=torch.float64) for name, rows in before.items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    for seed in range(batches):
        batch = make_batch(seed=seed)
        optimizer.zero_grad()
        compute_losses(model(*batch.inputs), batch, statistics).total.backward()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                squares[name] += as_rows(parameter.grad, axes[name]).double().square().sum(1)
        optimizer.step()
    measured = []
    for name, parameter in model.named_parameters():
        still = as_rows(parameter, axes[name]).eq(before[name])
        moved = float(not still.all())
        measured.append(Measured(name, still.shape[1], True, squares[name], moved, still.all(dim=1)))
    report = judge(measured, steps=batches, updates=batches, coverage=DataCoverage(), untrainable=Untrainable())
    return {tensor.name for tensor in (*report.dead, *report.with_dead_rows)}


def build() -> tuple[UnifiedModel, TargetStatistics]:
    torch.manual_seed(0)
    statistics = fit(make_batch())
    return UnifiedModel(dimensions("tiny", d_embed=48), statistics), statistics


def test_every_parameter_and_every_row_has_a_gradient_and_an_update() -> None:
    assert find_dead(*build()) == set()


def test_the_check_finds_a_branch_whose_output_goes_nowhere() -> None:
    model, statistics = build()
    model.phases.extra = nn.Linear(3, 3)
    assert find_dead(model, statistics) == {"phases.extra.weight", "phases.extra.bias"}


def test_the_check_finds_an_attention_keys_bias() -> None:
    """Softmax cancels it: its gradient is rounding noise, never exactly zero, and Adam moves it all the same."""

    class Biased(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            query, key, value = super().forward(x).chunk(3, dim=-1)
            return torch.cat((query, key + self.key_bias, value), dim=-1)

    model, statistics = build()
    layer = model.backbone.blocks[0].attention.query_key_value
    layer.__class__ = Biased
    layer.key_bias = nn.Parameter(torch.zeros(model.config.d_model))
    assert find_dead(model, statistics) == {"backbone.blocks.0.attention.query_key_value.key_bias"}


def test_the_rows_of_a_weight_are_its_outputs_however_it_is_laid_out() -> None:
    model, _ = build()
    axes = input_axes(model)
    stacked = model.advanced_wrappers["emotion"].enter_features.weight
    count, d_in, d_out = stacked.shape
    rows = as_rows(stacked, axes["advanced_wrappers.emotion.enter_features.weight"])
    assert rows.shape == (count * d_out, d_in)
    assert torch.equal(rows[d_out + 3], stacked[1, :, 3])
    linear = model.backbone.embed.weight
    assert torch.equal(as_rows(linear, axes["backbone.embed.weight"]), linear)
    assert as_rows(torch.zeros(5)).shape == (5, 1) and as_rows(torch.tensor(1.0)).shape == (1, 1)
    assert axes.keys() == {name for name, _ in model.named_parameters()}
