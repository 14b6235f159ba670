"""Activation checkpointing: blocks that keep only their inputs for the backward pass and compute the rest again.

A block's inside is by far the largest part of what a training step keeps; computing it twice costs a third more time
and nothing else (Chen et al. 2016, *Training Deep Nets with Sublinear Memory Cost*, arXiv 1604.06174).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, is_grad_enabled, nn
from torch.utils.checkpoint import checkpoint


class RecomputableBlock(nn.Module):
    """A block that can compute its inside a second time in the backward pass; subclasses say what in ``compute``.

    Attributes:
        recomputes: see ``recompute_blocks``. No part of the state: it changes memory and time, never a number.
    """

    compute: Callable[..., Tensor]

    def __init__(self) -> None:
        super().__init__()
        # The instance's own from the start: a compiled forward pass tells an attribute that appears later from one that
        # is there, and would compile once more after it was turned on and off again.
        self.recomputes = False

    def forward(self, *inputs: Tensor) -> Tensor:
        """What ``compute`` gives, with the same random numbers when it is computed again."""
        if not (self.recomputes and is_grad_enabled()):
            return self.compute(*inputs)
        result: Tensor = checkpoint(self.compute, *inputs, use_reentrant=False)
        return result


def recompute_blocks(model: nn.Module, on: bool = True) -> None:
    """Turns checkpointing on or off for every block of ``model``."""
    for module in model.modules():
        if isinstance(module, RecomputableBlock):
            module.recomputes = on
