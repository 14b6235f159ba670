"""The compiled forward pass: one graph, in place, so that names, hooks and checkpoints are unaffected.

Compiling takes minutes for the large model, so it must not happen again for each size of batch. Sequences are padded to
the longest that the model takes (with batches of a few dozen stories one nearly always is that long), the number of
situations is left open in the graph, and a single situation gets an empty one beside it, because one would be a graph
of its own. What remains is one graph for training and one for evaluation.
"""

from __future__ import annotations

import os
import shutil
from types import MethodType
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from redheart.errors import MissingRequirement
from redheart.model import Model, Outputs


def compile_forward(model: Model, *, backend: str = "inductor") -> None:
    """Makes ``model`` compile its forward pass at its first call.

    Raises:
        MissingRequirement: there is nothing here to compile with.
    """
    import torch._dynamo  # seconds, which nobody else should pay

    if backend == "inductor":
        _check_compiler()
    whole: Any = torch.compile(type(model).forward, fullgraph=True, dynamic=False, backend=backend)

    def forward(self: Model, *inputs: Tensor) -> Outputs:
        situations = len(inputs[0])
        padded = _pad(inputs, max(situations, 2), self.config.max_segments)
        for tensor in padded:
            torch._dynamo.maybe_mark_dynamic(tensor, 0)
        outputs: Outputs = whole(self, *padded)
        if situations == len(padded[0]):
            return outputs
        return Outputs(*({name: tensor[:situations] for name, tensor in part.items()} for part in outputs))

    # A bound method and no closure over the model: a copy of the model must run with the copy's weights.
    model.forward = MethodType(forward, model)  # type: ignore[method-assign]


def _pad(inputs: tuple[Tensor, ...], situations: int, segments: int) -> list[Tensor]:
    """Each of the forward pass's inputs with rows and columns of zeros (no segment) added at their ends."""
    rows, columns = situations - len(inputs[0]), max(segments - inputs[0].shape[1], 0)
    if not rows and not columns:
        return list(inputs)
    return [F.pad(tensor, (0, 0) * (tensor.dim() - 2) + (0, columns, 0, rows)) for tensor in inputs]


def _check_compiler() -> None:
    """PyTorch writes C++ for the CPU, and C around its kernels for a GPU."""
    if any(os.environ.get(name) for name in ("CC", "CXX")):
        return
    if not any(map(shutil.which, ("g++", "clang++", "c++", "gcc", "clang", "cc"))):
        raise MissingRequirement(
            "training.compile: PyTorch needs a C++ compiler for it, and there is none on the PATH: install g++, or set "
            "training.compile=false"
        )
