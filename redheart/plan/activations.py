"""What autograd keeps of a forward pass for the backward pass, counted from the model's own code without a number in memory.

The forward pass runs on fake tensors, which have shapes, types and storages but no contents (``FakeTensorMode``), so autocast's
casts are counted too, and a part that is rebuilt is counted anew. Of each kept storage the bytes count once, however many
tensors look into it; parameters are nobody's activations.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from redheart.machine import Precision
from redheart.model import TargetStatistics, UnifiedModel
from redheart.model.modules.activation_checkpointing import RecomputableBlock, recompute_blocks
from redheart.model.presets import ModelDimensions

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class Activations:
    """Bytes at the end of a forward pass of ``n`` situations: ``once + n × a_situation``, and within a block ``n × inside`` more.

    Attributes:
        once: whatever the number of situations: under mixed precision the weights' copies in it, all of which autocast keeps
            until its end (``torch.clear_autocast_cache``), needed again or not.
        a_situation: of one situation, of the number of segments that was counted for.
        inside: the most that one block keeps of a situation: what comes and goes again while a block is computed, computed
            again, or gone back through.
    """

    once: int
    a_situation: int
    inside: int

    def peak(self, situations: int) -> int:
        """Bytes when the backward pass begins."""
        return self.once + situations * (self.a_situation + self.inside)


class _Counter:
    """Storages that are kept, by the block that was under way."""

    def __init__(self, model: nn.Module) -> None:
        self._parameters = {_storage(parameter) for parameter in model.parameters()}
        self.kept: dict[int, int] = {}
        self.by_block: dict[int, int] = {}
        self._block = 0
        for number, block in enumerate((one for one in model.modules() if isinstance(one, RecomputableBlock)), 1):
            block.register_forward_pre_hook(lambda *_, number=number: self._enter(number))
            block.register_forward_hook(lambda *_: self._enter(0))

    def _enter(self, block: int) -> None:
        self._block = block

    def note(self, tensor: Tensor) -> Tensor:
        storage = _storage(tensor)
        if storage not in self._parameters and storage not in self.kept:
            self.kept[storage] = tensor.untyped_storage().nbytes()
            if self._block:
                self.by_block[self._block] = self.by_block.get(self._block, 0) + self.kept[storage]
        return tensor

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        self.kept, self.by_block = {}, {}
        with saved_tensors_hooks(self.note, lambda tensor: tensor):
            yield


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def count_activations(dims: ModelDimensions, *, precision: Precision, recomputes: bool, segments: int) -> Activations:
    """Counts a training's forward pass, from one and from two situations.

    Args:
        precision: of autocast; ``no`` is fp32.
        recomputes: whether blocks keep their inputs only (``training.activation_checkpointing``).
        segments: of every situation.
    """
    with FakeTensorMode():
        model = UnifiedModel(dims, TargetStatistics.neutral()).train()
        counter = _Counter(model)
        one, two = (_kept(model, counter, dims, precision, situations, segments) for situations in (1, 2))
        inside = max(two[1][block] - one[1][block] for block in two[1])
        once, a_situation = 2 * one[0] - two[0], two[0] - one[0]
        if recomputes:
            recompute_blocks(model)
            one, two = (_kept(model, counter, dims, precision, situations, segments) for situations in (1, 2))
            a_situation = two[0] - one[0]
    return Activations(once, a_situation, inside)


def _kept(
    model: UnifiedModel, counter: _Counter, dims: ModelDimensions, precision: Precision, situations: int, segments: int
) -> tuple[int, dict[int, int]]:
    """All bytes, and those of each block."""
    shape = (situations, segments)
    vectors, mask = torch.zeros(*shape, dims.d_embed), torch.ones(shape, dtype=torch.bool)
    index = torch.zeros(shape, dtype=torch.long)
    cast = torch.autocast("cpu", _AUTOCAST[precision]) if precision != "no" else contextlib.nullcontext()
    with counter.counting(), cast:
        model(vectors, mask, index, index)  # its outputs go; what they are made of is what the hooks saw
    return sum(counter.kept.values()), dict(counter.by_block)
