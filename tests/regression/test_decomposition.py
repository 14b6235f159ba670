"""A decomposition is the features it was made of, on no more axes than they span."""

from __future__ import annotations

import pytest
import torch

from redheart.regression.decomposition import Decomposition


@pytest.mark.parametrize("shape", [(30, 8), (8, 30)])
def test_the_parts_make_the_features_again_on_orthonormal_axes(shape: tuple[int, int]) -> None:
    features = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 3
    parts = Decomposition.of(features)
    torch.testing.assert_close(parts.coordinates @ parts.axes.T + parts.mean, features)
    torch.testing.assert_close(parts.axes.T @ parts.axes, torch.eye(len(parts.lengths), dtype=torch.float64))
    torch.testing.assert_close(parts.left.T @ parts.left, torch.eye(len(parts.lengths), dtype=torch.float64))
    assert parts.size == pytest.approx(float((features - features.mean(dim=0)).square().sum(dim=1).mean()))


def test_axes_that_the_items_do_not_span_are_left_out() -> None:
    generator = torch.Generator().manual_seed(0)
    thin = torch.randn(40, 3, dtype=torch.float64, generator=generator)
    parts = Decomposition.of(thin @ torch.randn(3, 20, dtype=torch.float64, generator=generator))
    assert parts.axes.shape == (20, 3)
    assert Decomposition.of(torch.ones(5, 4, dtype=torch.float64)).axes.shape == (4, 0)


def test_weights_on_the_axes_predict_the_same_from_the_features_themselves() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(12, 20, dtype=torch.float64, generator=generator) - 2
    parts = Decomposition.of(features)
    weights = torch.randn(len(parts.lengths), 2, dtype=torch.float64, generator=generator)
    bias = torch.tensor([0.5, -1.0], dtype=torch.float64)
    restored, shifted = parts.restore(weights, bias)
    torch.testing.assert_close(features @ restored + shifted, parts.coordinates @ weights + bias)
