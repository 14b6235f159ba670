"""The rows of a weight: the slice that makes one output, and can be dead inside a tensor that is alive.

A row is all the numbers that one output unit has of its own. In ``nn.Linear``'s weight that is a row indeed, in an
embedding one entry, in a vector one number. A module that lays its weights out otherwise names the axis that its input is
summed over in ``INPUT_AXES``; every other axis then counts outputs.
"""

from __future__ import annotations

from torch import Tensor, nn

#: Of a weight whose module says nothing: the last axis is the input's, as in ``nn.Linear``.
LAST = -1


def input_axes(model: nn.Module) -> dict[str, int]:
    """The input's axis of each parameter, by its name; ``LAST`` where its module does not say."""
    axes: dict[str, int] = {}
    for prefix, module in model.named_modules():
        declared: dict[str, int] = getattr(module, "INPUT_AXES", {})
        for name, _ in module.named_parameters(recurse=False):
            axes[f"{prefix}.{name}" if prefix else name] = declared.get(name, LAST)
    return axes


def as_rows(weight: Tensor, input_axis: int = LAST) -> Tensor:
    """``weight`` as ``(outputs, inputs)``; a vector or a scalar is one column."""
    if weight.dim() < 2:
        return weight.reshape(-1, 1)
    moved = weight.movedim(input_axis, -1)
    return moved.reshape(-1, moved.shape[-1])
