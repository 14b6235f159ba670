"""Structured random situations: targets that depend on the vectors, so that every part has something to learn."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from redheart.model import Batch, TargetStatistics
from redheart.tasks import TASKS


def make_batch(items: int = 16, *, d_embed: int = 48, longest: int = 9, seed: int = 0) -> Batch:
    """Stories of 4 to ``longest`` segments whose targets are smooth functions of their mean vector.

    A title, an action, windows and, last, the text whole.
    """
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(4, longest + 1, (items,), generator=generator)
    lengths[0] = longest
    mask = torch.arange(longest)[None, :] < lengths[:, None]
    segments = torch.randn(items, longest, d_embed, generator=generator) * mask.unsqueeze(-1)
    kinds = torch.full((items, longest), 2)
    kinds[:, 0], kinds[:, 1] = 0, 1
    kinds[torch.arange(items), lengths - 1] = 3
    positions = torch.where(kinds == 2, torch.arange(longest) - 2, 0)
    mean = segments.sum(1) / lengths.unsqueeze(-1) ** 0.5
    teacher = torch.Generator().manual_seed(99)
    targets: dict[str, torch.Tensor] = {}
    masks: dict[str, torch.Tensor] = {}
    for task in TASKS:
        dims = len(task.dimensions)
        signal = mean @ torch.randn(d_embed, dims, generator=teacher) * d_embed**-0.5
        targets[task.name] = signal.softmax(-1) if task.is_distribution else signal.sigmoid()
        masks[task.name] = torch.ones(items, dims, dtype=torch.bool)
    targets["votes"], masks["votes"] = targets["verdict"].clone(), masks["verdict"].clone()
    return Batch([f"item {n}" for n in range(items)], segments, mask, kinds, positions, targets, masks)


def fit(batch: Batch) -> TargetStatistics:
    return TargetStatistics.fit(
        {name: tensor.numpy() for name, tensor in batch.targets.items()},
        {name: tensor.numpy() for name, tensor in batch.target_mask.items()},
    )


@pytest.fixture
def batches() -> Callable[..., Batch]:
    return make_batch
