"""The shard of the fp32 weights that a process holds, and where the optimizer keeps what belongs to it: all in the plain
engine, under ZeRO what its optimizer steps on.

What is written into a shard reaches the forward pass only once the shards are broadcast again: under ZeRO the weights that
the model computes with are copies, gathered from all processes. DeepSpeed's ``safe_get_local_fp32_param`` is not used: it
exists under ZeRO-3 only, and copies an offloaded shard to the GPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from redheart.errors import ConfigError


@dataclass(frozen=True)
class Shard:
    """A run of one parameter's numbers.

    Attributes:
        values: ``(count,)`` fp32, the memory itself and no copy, without a graph.
        start: where in the flattened parameter the run begins.
        shape: the whole parameter's.
        flat: the tensor that the optimizer steps on, of which ``values`` is a part; ``offset``: where that begins. None for
            a shard that was read from a file.
    """

    values: Tensor
    start: int
    shape: tuple[int, ...]
    flat: Tensor | None = None
    offset: int = 0

    def beside(self, state: Any, key: str) -> Tensor | None:
        """``(count,)``, the memory itself: what an optimizer's ``state`` keeps under ``key`` for these numbers; None: nothing."""
        kept = state[self.flat].get(key) if self.flat is not None and self.flat in state else None
        return None if kept is None else kept.detach().view(-1).narrow(0, self.offset, len(self.values))


def plain_shards(model: nn.Module) -> dict[str, Shard]:
    """Every parameter, whole."""
    return {name: Shard(one.detach().view(-1), 0, tuple(one.shape), one) for name, one in model.named_parameters()}


def zero_shards(optimizer: Any, held: Mapping[str, nn.Parameter], *, stage: int, rank: int) -> dict[str, Shard]:
    """What this process's ZeRO optimizer holds; parameters of which it holds nothing are absent.

    Args:
        held: the parameters that the optimizer steps on, by name.

    Raises:
        ConfigError: the weights lie on an NVMe device.
    """
    shards = _partitions(optimizer, held, rank) if stage == 3 else _fragments(optimizer, held)
    return {name: shard for name, shard in shards if len(shard.values)}


def flat_partitions(optimizer: Any, *, stage: int) -> list[Tensor]:
    """All that this process's ZeRO optimizer steps on, padding too."""
    return list(optimizer.fp32_partitioned_groups_flat if stage == 3 else optimizer.single_partition_of_fp32_groups)


def _fragments(optimizer: Any, held: Mapping[str, nn.Parameter]) -> Iterator[tuple[str, Shard]]:
    """ZeRO-1 and 2 cut the flattened group, so a process may hold any run of a parameter, or nothing."""
    for name, one in held.items():
        mapping = one._hp_mapping  # type: ignore[attr-defined]
        if mapping is not None:
            flat = optimizer.single_partition_of_fp32_groups[mapping.param_group_index]
            offset, values = mapping.get_hp_fragment_address().start, mapping.get_hp_fragment().detach()
            yield name, Shard(values, mapping.lp_fragment_address.start, tuple(one.shape), flat, offset)


def _partitions(optimizer: Any, held: Mapping[str, nn.Parameter], rank: int) -> Iterator[tuple[str, Shard]]:
    """ZeRO-3 cuts each parameter into equal parts; the last may be padded, or be nothing else."""
    if optimizer.swap_optimizer:
        raise ConfigError(
            "weights that are offloaded to an NVMe device can neither be averaged nor saved for going on; offload to the CPU"
        )
    for name, one in held.items():
        group, offset, count = optimizer.grad_position[optimizer.get_param_id(one)]
        shape = tuple(one.ds_shape)  # type: ignore[attr-defined]
        start = rank * count
        real = max(0, min(count, math.prod(shape) - start))
        flat = optimizer.fp32_partitioned_groups_flat[group]
        yield name, Shard(flat.detach().narrow(0, offset, real), start, shape, flat, offset)


def broadcast_zero_shards(optimizer: Any, *, stage: int) -> None:
    """Gathers the shards into the weights that the forward pass reads: as after an optimizer step. Collective."""
    if stage != 3:
        optimizer.update_lp_params()
        return
    with torch.no_grad():
        optimizer.checkpoint_event_prologue()  # lets go of every weight that is gathered just now
        for group in range(len(optimizer.fp32_partitioned_groups_flat)):
            optimizer._reassign_or_swap_out_partitioned_parameters(group)
        optimizer.checkpoint_event_epilogue()  # gathers those again that stay gathered
