"""Under bf16 autocast: numbers near fp32's, and the smoother's system set up and factored in fp32."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import redheart.model.modules.kalman as kalman
from redheart.model import UnifiedModel, compute_losses, dimensions, modules_of
from tests.model.conftest import fit, make_batch


def gradients(autocast: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss, and each module's gradient as one vector."""
    torch.manual_seed(0)
    batch = make_batch()
    model = UnifiedModel(dimensions("tiny", d_embed=48, dropout=0.0), fit(batch))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        outputs = model(*batch.inputs)
    loss = compute_losses(outputs, batch, model.statistics).total
    loss.backward()
    return loss.detach(), {
        name: torch.cat([parameter.grad.flatten() for parameter in module.parameters() if parameter.grad is not None])
        for name, module in modules_of(model).items()
    }


def test_forward_and_backward_are_finite_and_near_fp32() -> None:
    (exact, wanted), (mixed, found) = gradients(False), gradients(True)
    torch.testing.assert_close(mixed, exact, rtol=0.01, atol=0.0)
    for name in wanted:
        assert found[name].isfinite().all(), name
        difference = (found[name] - wanted[name]).norm() / wanted[name].norm()
        assert difference < 0.03, name


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
def test_the_smoother_sees_and_computes_fp32_only(weights: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its numbers under autocast are to the bit those of the same observations without it."""
    torch.manual_seed(0)
    module = kalman.KalmanFilter(dimensions("tiny")).to(weights)
    hidden, mask = torch.randn(3, 16, dimensions("tiny").d_model).to(weights), torch.ones(3, 16, dtype=torch.bool)
    seen: list[tuple[tuple[Tensor, ...], tuple[Tensor, Tensor]]] = []
    smooth = kalman.smooth

    def watched(*arguments: Tensor) -> tuple[Tensor, Tensor]:
        seen.append((arguments, smooth(*arguments)))
        return seen[-1][1]

    monkeypatch.setattr(kalman, "smooth", watched)
    with torch.autocast("cpu", torch.bfloat16):
        module(hidden, mask)
    ((arguments, found),) = seen
    assert {argument.dtype for argument in arguments} == {torch.float32, torch.bool}
    for one, other in zip(found, smooth(*arguments), strict=True):
        assert one.dtype == torch.float32 and torch.equal(one, other)
