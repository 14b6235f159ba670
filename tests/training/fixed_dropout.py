"""Dropout whose masks are known: so that two passes differ, and yet a batch may be cut as one likes."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def forward(self: nn.Dropout, x: Tensor) -> Tensor:
    """In training the first half of the rows is made larger by a tenth and the second smaller by as much."""
    if not self.training:
        return x
    half = len(x) // 2
    factor = torch.cat((torch.full((half,), 1.1), torch.full((len(x) - half,), 0.9)))
    return x * factor.view(-1, *[1] * (x.dim() - 1)).to(x)
