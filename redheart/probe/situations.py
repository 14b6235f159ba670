"""Made-up situations, all of the same length and annotated throughout: what memory a step takes depends on nothing else."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch

from redheart.batches.order import Indices
from redheart.batches.table import SituationTable
from redheart.data.targets import target_sizes
from redheart.model.batch import Batch


class MadeUpSituations:
    """As many as are asked for, in the place of a ``SituationTable`` for a training loop."""

    def __init__(self, count: int, *, segments: int, d_embed: int) -> None:
        self.ids = [f"made up {number}" for number in range(count)]
        self.dataset = _Counts(np.full(count, segments))
        self._segments, self._d_embed = segments, d_embed

    def batch(self, indices: Indices) -> Batch:
        count = max(1, len(indices))
        shape = (count, self._segments)
        generator = torch.Generator().manual_seed(int(indices[0]) if len(indices) else 0)
        return Batch(
            ids=[self.ids[index] for index in indices],
            segments=torch.randn(*shape, self._d_embed, generator=generator),
            segment_mask=torch.ones(shape, dtype=torch.bool),
            kinds=torch.full(shape, 2),
            positions=torch.arange(self._segments).expand(shape).contiguous(),
            targets={name: torch.full((count, width), 1.0 / width) for name, width in target_sizes().items()},
            target_mask=self._masks(count, is_known=bool(len(indices))),
        )

    def target_masks(self, indices: Indices) -> dict[str, torch.Tensor]:
        return self._masks(len(indices), is_known=True)

    def _masks(self, count: int, *, is_known: bool) -> dict[str, torch.Tensor]:
        return {name: torch.full((count, width), is_known) for name, width in target_sizes().items()}

    def as_table(self) -> SituationTable:
        """For whoever asks for a table, and needs no more of it than is here."""
        return cast(SituationTable, self)


class _Counts:
    def __init__(self, counts: Any) -> None:
        self.counts = counts
