"""Nearness to other stories: what it is, that bf16 does not spoil it, and that nobody keeps centres that nobody reads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from redheart.model import UnifiedModel, dimensions
from redheart.model.modules.radial_basis import SHARPNESS, RadialBasis, RadialPath, rbf_activations
from redheart.model.modules.views import VIEW_WEIGHTS, linear_views
from redheart.model.unified import normalise
from tests.model.conftest import fit, make_batch


def _views(items: int = 16, seed: int = 0) -> torch.Tensor:
    batch = make_batch(items, seed=seed)
    return linear_views(normalise(batch.segments, batch.segment_mask), batch.segment_mask, batch.kinds)


def test_nearness_is_the_mean_of_a_gaussian_a_view_of_vectors_of_unit_length() -> None:
    stories, others = _views(5), _views(7, seed=1)
    found = rbf_activations(stories, others)
    assert found.shape == (5, 7)
    for item, story in enumerate(stories.view(5, 4, 48).double().numpy()):
        for place, other in enumerate(others.view(7, 4, 48).double().numpy()):
            one, two = (each / np.array(VIEW_WEIGHTS)[:, None] / 48**0.5 for each in (story, other))
            wanted = np.exp(-SHARPNESS * ((one - two) ** 2).sum(axis=1)).mean()
            assert float(found[item, place]) == pytest.approx(wanted, rel=1e-4)
    torch.testing.assert_close(rbf_activations(stories, stories).diagonal(), torch.ones(5), atol=1e-4, rtol=0.0)


def test_read_outs_that_nearly_cancel_come_through_bf16() -> None:
    """Weights of the size that a start in closed form gives; what bf16 rounds is the weights, not what they weigh."""
    dims = replace(dimensions("tiny", d_embed=48), centres=400)
    torch.manual_seed(0)
    basis, path = RadialBasis(dims), RadialPath(400, 3)
    stories = _views(400, seed=2)
    with torch.no_grad():
        basis.centres.copy_(stories)
        basis.mean.copy_(rbf_activations(stories, stories).mean(dim=0))
        path.weight.normal_(std=0.5)
        exact = path(basis(stories))
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(path(basis(stories)), exact, atol=1e-5, rtol=1e-5)
        basis, path = basis.bfloat16(), path.bfloat16()
        assert (path(basis(stories.bfloat16())) - exact).square().mean().sqrt() < 0.03 * exact.std()


def test_no_centre_is_without_a_gradient_before_anything_is_solved_also_with_a_single_output() -> None:
    dims = replace(dimensions("tiny", d_embed=48), centres=1536)
    torch.manual_seed(0)
    basis, path = RadialBasis(dims), RadialPath(1536, 1)
    path(basis(_views(64, seed=3))).square().sum().backward()
    rows = basis.centres.grad.norm(dim=1)
    assert rows.min() > 0.1 * rows.median()
    assert 0.45 < (path.weight > 0).float().mean() < 0.55


def test_without_heads_and_where_none_are_wanted_there_are_no_centres() -> None:
    batch = make_batch()
    tiny = dimensions("tiny", d_embed=48)
    for dims in (replace(tiny, without=("heads",)), replace(tiny, centres=0)):
        model = UnifiedModel(dims, fit(batch))
        assert not [name for name, _ in model.named_parameters() if "radial" in name]
        model(*batch.inputs)


def test_every_centre_is_trained_by_every_head() -> None:
    batch = make_batch()
    torch.manual_seed(0)
    model = UnifiedModel(replace(dimensions("tiny", d_embed=48), centres=8), fit(batch))
    basis = model.get_submodule("backbone.radial_basis")
    with torch.no_grad():
        basis.centres.copy_(_views(8, seed=3))
    for task, head in model.heads.items():
        model.zero_grad()
        with torch.no_grad():
            head.radial.weight.normal_()
        model(*batch.inputs).predictions[task].square().sum().backward()
        assert (basis.centres.grad.abs().amax(dim=1) > 0).all() and head.radial.weight.grad.abs().min() > 0, task
