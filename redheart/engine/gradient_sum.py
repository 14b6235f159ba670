"""The sum of gradients over the processes of data parallel training, once all have come through their passes.

PyTorch's ``DistributedDataParallel`` exchanges them within the backward pass, where a process that runs out of memory leaves the
others waiting for ever. Here nothing is exchanged before all agree, so a batch can be computed again. What that costs is the overlap
with the backward pass; what it saves is a second copy of all gradients in that class's buckets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

#: Numbers that travel at once: 25 MiB in fp32, as PyTorch has it. Two such buffers take turns.
BUCKET = 25 * 2**20 // 4


class GradientSum:
    """Sums the gradients of ``parameters``; its two buffers are made here, so that no sum runs out of memory.

    Args:
        bucket: numbers in a buffer; a gradient with more travels from where it lies.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], device: torch.device, *, bucket: int = BUCKET) -> None:
        self._parameters = list(parameters)
        self._bucket = min(bucket, max(1, sum(one.numel() for one in self._parameters)))
        self._buffers = [torch.empty(self._bucket, device=device) for _ in range(2)]
        self._flags = torch.empty(1 + len(self._parameters), device=device)

    def __call__(self, *, failed: bool) -> bool:
        """Whether no process failed; then every gradient is summed that there is anywhere. Collective.

        A process that has none where another has one is given zeros: whether a piece of a batch reaches a parameter is up to its
        targets.
        """
        found = [float(failed), *(float(one.grad is not None) for one in self._parameters)]
        self._flags.copy_(torch.tensor(found))
        dist.all_reduce(self._flags, op=dist.ReduceOp.MAX)
        any_failed, *there = self._flags.tolist()
        if any_failed:
            return False
        present = [one for one, has in zip(self._parameters, there, strict=True) if has]
        for one in present:
            if one.grad is None:
                one.grad = torch.zeros_like(one)
        self._sum([one.grad for one in present if one.grad is not None])
        return True

    def _sum(self, gradients: Sequence[Tensor]) -> None:
        under_way: list[tuple[Any, Tensor, list[Tensor]] | None] = [None, None]
        for number, bucket in enumerate(self._buckets(gradients)):
            place = number % 2
            _finish(under_way[place])
            if bucket[0].numel() > self._bucket:
                flat = bucket[0]
            else:
                flat = self._buffers[place][: sum(one.numel() for one in bucket)]
                torch.cat([one.reshape(-1) for one in bucket], out=flat)
            under_way[place] = dist.all_reduce(flat, async_op=True), flat, bucket
        for one in under_way:
            _finish(one)

    def _buckets(self, gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
        bucket: list[Tensor] = []
        count = 0
        for one in gradients:
            if bucket and count + one.numel() > self._bucket:
                yield bucket
                bucket, count = [], 0
            bucket.append(one)
            count += one.numel()
        if bucket:
            yield bucket


def _finish(sent: tuple[Any, Tensor, list[Tensor]] | None) -> None:
    """Waits for a bucket and puts its numbers back where they came from."""
    if sent is None:
        return
    work, flat, bucket = sent
    work.wait()
    if flat is not bucket[0]:
        parts = torch.split(flat, [one.numel() for one in bucket])
        torch._foreach_copy_(bucket, [part.view(one.shape) for part, one in zip(parts, bucket, strict=True)])


def broadcast_from_first(tensors: Sequence[Tensor]) -> None:
    """Gives every process the first one's numbers. Collective."""
    for one in tensors:
        dist.broadcast(one.detach(), 0)
