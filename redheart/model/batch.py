"""The batch that one forward pass takes: situations as padded sequences of segments, with their targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

#: Kinds of segments, in the order in which they stand: title, action, text windows, and last the text whole.
KINDS = 4
WHOLE_TEXT = 3


@dataclass(frozen=True, slots=True)
class Batch:
    """Situations side by side.

    Attributes:
        ids: one identifier per situation.
        segments: (batch, segments, d_embed) float32; padding stands after the real segments.
        segment_mask: (batch, segments) bool, True = real.
        kinds: (batch, segments) int64: 0 title, 1 action, 2 text window, 3 whole text.
        positions: (batch, segments) int64: the running number of a window, 0 elsewhere.
        targets: (batch, dims) float32 by target: the five tasks' names and ``votes``.
        target_mask: bool, as ``targets``: True = annotated.
    """

    ids: list[str]
    segments: Tensor
    segment_mask: Tensor
    kinds: Tensor
    positions: Tensor
    targets: dict[str, Tensor]
    target_mask: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The arguments of ``UnifiedModel.forward``, in order."""
        return self.segments, self.segment_mask, self.kinds, self.positions

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """The same batch with its tensors on ``device``."""
        return self._with_each(self.ids, lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pinned(self) -> Batch:
        """The same batch in page-locked memory, from which a device copies while the processor goes on."""
        return self._with_each(self.ids, Tensor.pin_memory)

    def twice(self) -> Batch:
        """The batch beside itself: each situation again in the second half, in the same order."""
        return self._with_each(self.ids * 2, lambda tensor: torch.cat((tensor, tensor)))

    def _with_each(self, ids: list[str], change: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(
            ids=ids,
            segments=change(self.segments),
            segment_mask=change(self.segment_mask),
            kinds=change(self.kinds),
            positions=change(self.positions),
            targets={name: change(tensor) for name, tensor in self.targets.items()},
            target_mask={name: change(tensor) for name, tensor in self.target_mask.items()},
        )

    def rows(self, start: int, stop: int) -> Batch:
        """The situations ``start`` to ``stop`` as a batch of their own: a micro-batch."""
        return Batch(
            ids=self.ids[start:stop],
            segments=self.segments[start:stop],
            segment_mask=self.segment_mask[start:stop],
            kinds=self.kinds[start:stop],
            positions=self.positions[start:stop],
            targets={name: tensor[start:stop] for name, tensor in self.targets.items()},
            target_mask={name: tensor[start:stop] for name, tensor in self.target_mask.items()},
        )
