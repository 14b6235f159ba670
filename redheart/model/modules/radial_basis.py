"""The radial basis layer: how near a story lies to each of a thousand others, over the linear views.

What the sentence encoder's vectors tell beside a linear prediction is mostly this: stories like that one were judged so.
With centres at training stories and read-outs found in closed form (``redheart.training.linear_start``) it is a kernel
machine with a Gaussian kernel a view (Broomhead & Lowe 1988; Williams & Seeger 2001, the Nyström method), and what
follows trains it further.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from redheart.model.depth import Depths
from redheart.model.modules.blocks import Projection
from redheart.model.modules.views import VIEWS
from redheart.model.presets import SHARPNESS, VIEW_WEIGHTS, ModelDimensions


def rbf_activations(views: Tensor, centres: Tensor) -> Tensor:
    """The mean over the views of ``exp(-SHARPNESS * squared distance)``: 1 for the same story, near 0 for unlike ones.

    Args:
        views: (batch, 4 * d_embed), linear views of segments of unit mean square.
        centres: (centres, 4 * d_embed), likewise.

    Returns:
        (batch, centres).
    """
    stories, others = (each.view(len(each), VIEWS, -1) for each in (views, centres))
    products = torch.einsum("bvd,cvd->bcv", stories, others)
    lengths, other_lengths = stories.square().sum(dim=-1), others.square().sum(dim=-1)
    squared = lengths.unsqueeze(1) + other_lengths.unsqueeze(0) - 2 * products
    # Numbers of the program and no tensor, which would be copied to the device in each pass.
    sharpness = (SHARPNESS / (weight**2 * stories.shape[-1]) for weight in VIEW_WEIGHTS)
    near = [(-one * squared[..., view].clamp(min=0.0)).exp() for view, one in enumerate(sharpness)]
    return torch.stack(near).mean(dim=0)


class RadialBasis(nn.Module):
    """Nearness to each of its centres, less the mean over the training stories. In fp32, because read-outs nearly cancel."""

    mean: Tensor

    def __init__(self, dims: ModelDimensions) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.empty(dims.centres, VIEWS * dims.d_embed))
        nn.init.normal_(self.centres)
        self.register_buffer("mean", torch.zeros(dims.centres))

    def forward(self, views: Tensor) -> Tensor:
        """Linear views (batch, 4 * d_embed) -> (batch, centres)."""
        with torch.autocast(views.device.type, enabled=False):
            return rbf_activations(views.float(), self.centres.float()) - self.mean.float()

    def place(self, depths: Depths, after: int) -> int:
        return depths.chain(self.centres, after=after)


def radial_basis_of(dims: ModelDimensions) -> RadialBasis | None:
    """None without centres, and without heads, which alone read it."""
    return RadialBasis(dims) if dims.centres and dims.has("heads") else None


class RadialPath(Projection):
    """A head's read-out of the rbf_activations: nearly nothing, or the best prediction (``redheart.training.linear_start``)."""

    def __init__(self, centres: int, outputs: int) -> None:
        super().__init__(centres, outputs, bias=False, gain=0.01)

    def reset_parameters(self) -> None:
        """All of one size, with random signs: a centre whose read-outs happened to be nearly 0 would have no gradient."""
        if self.weight.is_meta:  # no numbers to draw, and torch would load its compiler for it: a second
            return
        with torch.no_grad():
            signs = torch.empty_like(self.weight).normal_().sign()
            self.weight.copy_(self.gain * self.in_features**-0.5 * signs)

    def forward(self, rbf_activations: Tensor) -> Tensor:
        """(batch, centres) -> (batch, outputs), in fp32."""
        with torch.autocast(rbf_activations.device.type, enabled=False):
            return nn.functional.linear(rbf_activations.float(), self.weight.float())
