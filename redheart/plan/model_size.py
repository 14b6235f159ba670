"""What a preset's size is made of, as far as memory and time go: parameters, activations, operations.

The numbers of the table are counted by ``activations.py`` and ``redheart.model``, which takes seconds for each line; a test counts
them again. So a plan is made in the time of ``redheart params``.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from torch import nn

from redheart.machine import Precision
from redheart.model.flops import FlopCount, count_flops
from redheart.model.parameters import count_model, meta_model
from redheart.model.presets import ModelDimensions, dimensions
from redheart.plan.activations import Activations
from redheart.plan.zero_sizes import PERSISTENT_BELOW


@dataclass(frozen=True, slots=True)
class Counted:
    """Bytes that autograd keeps of a forward pass, by what they grow with; see ``activations.Activations``.

    Attributes:
        once: whatever the number of situations.
        kept: of a situation, and of each of its segments; ``recomputed``: with activation checkpointing.
        inside: of each segment, the most that one block keeps.
    """

    once: int
    kept: tuple[int, int]
    recomputed: tuple[int, int]
    inside: int

    def activations(self, segments: int, *, recomputes: bool) -> Activations:
        base, a_segment = self.recomputed if recomputes else self.kept
        return Activations(self.once, base + a_segment * segments, self.inside * segments)


#: By preset, and whether autocast computes in 16 bits. Counted for vectors 384 wide; wider ones add less than 1 %.
COUNTED: dict[tuple[str, bool], Counted] = {
    ("tiny", False): Counted(174_404, (178_449, 73_957), (67_297, 31_490), 6_948),
    ("tiny", True): Counted(4_458_170, (104_355, 47_393), (45_459, 25_714), 3_874),
    ("small", False): Counted(244_404, (1_190_577, 511_825), (304_449, 88_738), 27_692),
    ("small", True): Counted(113_836_154, (663_187, 277_331), (194_915, 63_282), 15_402),
    ("730m", False): Counted(1_224_404, (4_531_793, 2_884_617), (988_833, 313_442), 73_812),
    ("730m", True): Counted(1_456_297_978, (2_504_819, 1_505_691), (633_123, 204_594), 41_042),
}


@dataclass(frozen=True, slots=True)
class ModelSize:
    """A model, to be planned for.

    Attributes:
        parameters: trainable numbers.
        largest_layer: of them, the most that one layer has, as far as it is gathered at once under ZeRO-3.
        in_small_tensors: of them, those that ZeRO-3 keeps gathered.
        tensors: that the parameters are in.
        dims, segments: what operations are counted for, once they are asked for.
        activations: kept of a pass, and kept with activation checkpointing.
    """

    preset: str
    parameters: int
    largest_layer: int
    in_small_tensors: int
    tensors: int
    dims: ModelDimensions
    segments: int
    activations: Activations
    recomputed: Activations

    @staticmethod
    def of(preset: str, *, d_embed: int, segments: int, precision: Precision) -> ModelSize:
        """Counts it; nothing is allocated.

        Args:
            segments: of every situation.

        Raises:
            KeyError: there is no such preset.
        """
        counted, dims = COUNTED[preset, precision != "no"], dimensions(preset, d_embed=d_embed)
        model = meta_model(dims)
        return ModelSize(
            preset,
            count_model(model).total,
            _largest_layer(model),
            sum(one.numel() for one in model.parameters() if one.numel() < PERSISTENT_BELOW),
            sum(1 for _ in model.parameters()),
            dims,
            segments,
            counted.activations(segments, recomputes=False),
            counted.activations(segments, recomputes=True),
        )

    @property
    def flops(self) -> int:
        """Of a forward pass of one situation."""
        return _counted_flops(self.dims, self.segments).total

    @property
    def flops_in_blocks(self) -> int:
        """Of them, what activation checkpointing computes again."""
        return _counted_flops(self.dims, self.segments).in_blocks


@functools.cache
def _counted_flops(dims: ModelDimensions, segments: int) -> FlopCount:
    return count_flops(dims, segments=segments, situations=1)


def _largest_layer(model: nn.Module) -> int:
    return max(sum(one.numel() for one in module.parameters(recurse=False)) for module in model.modules())
