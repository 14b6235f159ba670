"""The count of a forward pass's floating-point operations, by module, without computing it or allocating a weight.

The model's own forward pass runs, so nothing is counted that is not done and a part that is rebuilt is counted anew. Each
weight is one number stretched to its shape; of each matrix product the size is noted, and zeros take the place of the
large ones. Only matrix products count, a multiplication and its addition as two – the convention of
``torch.utils.flop_counter`` and of model FLOP utilisation (Chowdhery et al. 2022, *PaLM*, arXiv 2204.02311, appendix B).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from redheart.model.modules.activation_checkpointing import RecomputableBlock
from redheart.model.parameters import meta_model
from redheart.model.presets import ModelDimensions
from redheart.model.unified import UnifiedModel, modules_of

#: Function -> where its first factor stands among the arguments.
_PRODUCTS: dict[Any, int] = {
    **dict.fromkeys((torch.matmul, torch.mm, torch.bmm, Tensor.matmul, Tensor.mm, Tensor.bmm, Tensor.__matmul__), 0),
    **dict.fromkeys((torch.addmm, torch.baddbmm, Tensor.addmm, Tensor.baddbmm), 1),
}


@dataclass(frozen=True, slots=True)
class FlopCount:
    """A forward pass.

    Attributes:
        situations, segments: the batch that it was counted for, without padding.
        by_module: operations of each module.
        outside: what the model itself does to its inputs.
        in_blocks: those of all, that are inside the blocks which ``recompute_blocks`` makes compute twice.
    """

    situations: int
    segments: int
    by_module: dict[str, int]
    outside: int
    in_blocks: int

    @property
    def total(self) -> int:
        return sum(self.by_module.values()) + self.outside

    @property
    def per_situation(self) -> float:
        """One situation's share of the whole batch."""
        return self.total / self.situations

    def training_step(self, *, activation_checkpointing: bool = False) -> int:
        """Forward and backward of the batch: three times the forward pass, and the checkpointed blocks once more.

        A product's backward pass is two products of its size, one for each factor's gradient.
        """
        return 3 * self.total + (self.in_blocks if activation_checkpointing else 0)


def count_flops(dims: ModelDimensions, *, segments: int = 16, situations: int = 1) -> FlopCount:
    """Counts a forward pass of ``situations`` with ``segments`` segments each."""
    model = _stretched(meta_model(dims)).eval()
    counter = _Counter()
    for name, module in modules_of(model).items():
        module.register_forward_pre_hook(lambda *_, name=name: counter.enter(name))
        module.register_forward_hook(lambda *_: counter.enter(""))
    for module in model.modules():
        if isinstance(module, RecomputableBlock):
            module.register_forward_pre_hook(lambda *_: counter.enter_block(True))
            module.register_forward_hook(lambda *_: counter.enter_block(False))
    shape = (situations, segments)
    index = torch.zeros(shape, dtype=torch.long)
    with torch.no_grad(), counter:
        model(torch.zeros(*shape, dims.d_embed), torch.ones(shape, dtype=torch.bool), index, index)
    by_module = {name: counter.counts.get(name, 0) for name in modules_of(model)}
    return FlopCount(situations, segments, by_module, counter.counts.get("", 0), counter.in_blocks)


def _stretched(model: UnifiedModel) -> UnifiedModel:
    """The meta model with a single zero seen through each parameter's and buffer's shape."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(torch.zeros(()).expand(parameter.shape), requires_grad=False))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.zeros((), dtype=buffer.dtype).expand(buffer.shape))
    return model


class _Counter(TorchFunctionMode):
    """Notes the size of each matrix product for the module that is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.module = ""
        self.is_in_block = False
        self.counts: dict[str, int] = {}
        self.in_blocks = 0

    def enter(self, module: str) -> None:
        self.module = module

    def enter_block(self, is_in_block: bool) -> None:
        self.is_in_block = is_in_block

    def _add(self, multiplications: int) -> None:
        self.counts[self.module] = self.counts.get(self.module, 0) + 2 * multiplications
        self.in_blocks += 2 * multiplications * self.is_in_block

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.linear:
            outputs = args[1].shape[0]
            self._add(args[0].numel() * outputs)
            return args[0].new_zeros(*args[0].shape[:-1], outputs)
        if func is F.scaled_dot_product_attention:
            query, key, value = args[:3]
            self._add(math.prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1]))
            return query.new_zeros(*query.shape[:-1], value.shape[-1])
        if func is torch.einsum:
            self._add(_einsum_size(args[0], args[1:]))
        result = func(*args, **kwargs)
        if func in _PRODUCTS:
            self._add(result.numel() * args[_PRODUCTS[func]].shape[-1])
        return result


def _einsum_size(equation: str, operands: tuple[Any, ...]) -> int:
    """Multiplications of a product of two factors: one for each combination of all indices."""
    sizes: dict[str, int] = {}
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    for term, operand in zip(terms, operands, strict=True):
        sizes |= dict(zip(term, operand.shape, strict=True))
    return math.prod(sizes.values())
