"""Every parameter is alive: a gradient of fair size, and an update, over a handful of batches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from redheart.model import TargetStatistics, UnifiedModel, compute_losses, dimensions, modules_of
from tests.model.conftest import fit, make_batch

#: A tensor whose gradient is this small beside its module's median does nothing that training could notice.
SMALLEST_GRADIENT = 1e-6


def find_dead(model: UnifiedModel, statistics: TargetStatistics, batches: int = 4) -> set[str]:
    """Names of the parameters with a vanishing gradient or without an update (weight decay aside)."""
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    squares = {name: 0.0 for name in before}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    for seed in range(batches):
        batch = make_batch(seed=seed)
        optimizer.zero_grad()
        compute_losses(model(*batch.inputs), batch, statistics).total.backward()
        for name, parameter in model.named_parameters():
            squares[name] += 0.0 if parameter.grad is None else parameter.grad.square().mean().item()
        optimizer.step()
    dead = {name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])}
    for module in modules_of(model):
        group = {name: square**0.5 for name, square in squares.items() if name.startswith(f"{module}.")}
        median = torch.tensor(list(group.values())).median().item()
        dead |= {name for name, size in group.items() if not size > SMALLEST_GRADIENT * median}
    return dead


def build() -> tuple[UnifiedModel, TargetStatistics]:
    torch.manual_seed(0)
    statistics = fit(make_batch())
    return UnifiedModel(dimensions("tiny", d_embed=48), statistics), statistics


def test_every_parameter_has_a_gradient_and_an_update() -> None:
    assert find_dead(*build()) == set()


def test_every_output_row_of_every_matrix_is_updated() -> None:
    model, statistics = build()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    find_dead(model, statistics)
    for name, parameter in model.named_parameters():
        still = (parameter == before[name]).flatten(1).all(1) if parameter.dim() > 1 else parameter == before[name]
        assert not still.any(), name


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
