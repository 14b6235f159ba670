"""The batch that one forward pass takes: situations as padded sequences of segments, with their targets."""

from __future__ import annotations

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

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=non_blocking)

        return Batch(
            ids=self.ids,
            segments=move(self.segments),
            segment_mask=move(self.segment_mask),
            kinds=move(self.kinds),
            positions=move(self.positions),
            targets={name: move(tensor) for name, tensor in self.targets.items()},
            target_mask={name: move(tensor) for name, tensor in self.target_mask.items()},
        )

    def twice(self) -> Batch:
        """The batch beside itself: each situation again in the second half, in the same order."""

        def repeat(tensor: Tensor) -> Tensor:
            return torch.cat((tensor, tensor))

        return Batch(
            ids=self.ids * 2,
            segments=repeat(self.segments),
            segment_mask=repeat(self.segment_mask),
            kinds=repeat(self.kinds),
            positions=repeat(self.positions),
            targets={name: repeat(tensor) for name, tensor in self.targets.items()},
            target_mask={name: repeat(tensor) for name, tensor in self.target_mask.items()},
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
