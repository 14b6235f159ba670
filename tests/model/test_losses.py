"""The loss: additive however a batch is cut, blind to what is not annotated, weighted as declared."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from redheart.model import Batch, UnifiedModel, compute_losses, dimensions, valid_counts
from redheart.model.losses import TERMS
from tests.model.conftest import fit, make_batch


@pytest.fixture
def partly() -> Batch:
    """A batch with holes: some dimensions, some items and some votes are missing, with NaN in their places."""
    batch = make_batch()
    generator = torch.Generator().manual_seed(7)
    for name, mask in batch.target_mask.items():
        if name in ("bentham", "surd", "regret"):
            mask &= torch.rand(mask.shape, generator=generator) < 0.6
        else:
            mask &= torch.rand(len(batch), 1, generator=generator) < 0.6
        batch.targets[name][~mask] = math.nan
    return batch


def build(batch: Batch) -> UnifiedModel:
    torch.manual_seed(0)
    return UnifiedModel(dimensions("tiny", d_embed=48, dropout=0.0), fit(batch))


def test_the_loss_of_a_batch_is_the_sum_of_its_parts(partly: Batch) -> None:
    model = build(partly)
    counts = valid_counts(partly)
    whole = compute_losses(model(*partly.inputs), partly, model.statistics, counts)
    for cuts in ([0, 8, 16], [0, 3, 4, 16]):
        parts = [partly.rows(*cut) for cut in pairwise(cuts)]
        losses = [compute_losses(model(*part.inputs), part, model.statistics, counts) for part in parts]
        torch.testing.assert_close(torch.stack([loss.total for loss in losses]).sum(), whole.total)
        for name, term in whole.terms.items():
            torch.testing.assert_close(torch.stack([loss.terms[name] for loss in losses]).sum(), term, msg=name)


def test_counts_are_of_annotated_numbers_and_of_annotated_distributions(partly: Batch) -> None:
    counts = valid_counts(partly)
    assert counts["bentham"] == partly.target_mask["bentham"].sum()
    assert counts["emotion"] == partly.target_mask["emotion"][:, 0].sum()
    assert 0 < counts["votes"] < len(partly)


def test_what_is_not_annotated_has_no_influence(partly: Batch) -> None:
    model = build(partly)
    one = compute_losses(model(*partly.inputs), partly, model.statistics).total
    one.backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
    for name, mask in partly.target_mask.items():
        partly.targets[name][~mask] = 0.25
    torch.testing.assert_close(one, compute_losses(model(*partly.inputs), partly, model.statistics).total)


def test_a_target_that_nobody_annotated_contributes_a_zero_with_a_graph() -> None:
    batch = make_batch()
    batch.target_mask["regret"][:] = False
    batch.targets["regret"][:] = math.nan
    model = build(batch)
    losses = compute_losses(model(*batch.inputs), batch, model.statistics)
    for name in ("heads.regret", "neural_analyzers.regret", "advanced_wrappers.regret", "phases.empathy"):
        assert losses.terms[name].item() == 0.0 and losses.terms[name].requires_grad
    losses.total.backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


def test_the_weights_are_the_designs() -> None:
    by_group: dict[str, float] = {}
    for term in TERMS:
        group = term.name.partition(".")[0]
        group = group if group in ("heads", "advanced_wrappers") else "analyzers and the rest"
        by_group[group] = by_group.get(group, 0.0) + term.weight
    assert by_group == pytest.approx({"heads": 0.60, "analyzers and the rest": 0.25, "advanced_wrappers": 0.15})


def test_the_total_is_the_weighted_sum_of_the_terms() -> None:
    batch = make_batch()
    model = build(batch)
    losses = compute_losses(model(*batch.inputs), batch, model.statistics)
    weighted = sum(term.weight * losses.terms[term.name].item() for term in TERMS)
    assert losses.total.item() == pytest.approx(weighted, rel=1e-5)


def test_a_wrappers_loss_does_not_train_the_analyzers_own_prediction() -> None:
    batch = make_batch()
    model = build(batch)
    compute_losses(model(*batch.inputs), batch, model.statistics).terms["advanced_wrappers.surd"].backward()
    modules = model.neural_analyzers["surd"]
    assert modules.predict.weight.grad is None
    assert model.advanced_wrappers["surd"].correct.weight.grad is not None
    assert model.heads["surd"].read_out.weight.grad is None
