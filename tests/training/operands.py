"""Whether what a model computes with begins where torch's own memory does, so that equal numbers give equal results.

This does not depend on the processor, and whether a kernel minds does: see ``redheart.model.exported``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from redheart.model import UnifiedModel

#: Bytes: torch's CPU allocator aligns to it, and MKL asks for it.
ALIGNED = 64


def misplaced(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of those that begin elsewhere."""
    return [name for name, tensor in tensors.items() if tensor.data_ptr() % ALIGNED]


@contextlib.contextmanager
def only_aligned_operands() -> Iterator[list[UnifiedModel]]:
    """Looks at weights and inputs at each model's forward pass while the body runs. Gives the list of these passes' models."""
    seen: list[UnifiedModel] = []

    def look(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, UnifiedModel):
            seen.append(module)
            # A micro-batch's masks begin where its rows do; no matrix product reads them.
            numbers = [one for one in inputs if isinstance(one, Tensor) and one.is_floating_point()]
            given = {f"input {place}": one for place, one in enumerate(numbers)}
            found = misplaced({**dict(module.named_parameters()), **dict(module.named_buffers()), **given})
            assert not found, f"not at a multiple of {ALIGNED} bytes: {found}"

    handle = register_module_forward_pre_hook(look)
    try:
        yield seen
    finally:
        handle.remove()
