"""The backbone: a pre-norm transformer encoder over a story's segments, and one attention pool a task."""

from __future__ import annotations

from torch import Tensor, nn

from redheart.model.batch import KINDS
from redheart.model.blocks import AttentionPool, EncoderBlock, Projection, masked_mean, sinusoidal_positions
from redheart.model.depth import Depths
from redheart.model.presets import ModelDimensions
from redheart.tasks import TASKS


class Backbone(nn.Module):
    """Segments in context, and for each task the vector that its pool reads off them.

    The embedding of a kind that a dataset never has (no titles, say) gets no gradient there; it is the one parameter
    whose use the data decides.
    """

    def __init__(self, dims: ModelDimensions) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dims.embedding_dropout)
        self.embed = Projection(dims.d_embed, dims.d_model, bias=False)
        self.kind = nn.Embedding(KINDS, dims.d_model)
        nn.init.normal_(self.kind.weight, std=0.5)
        residual_gain = (2 * dims.layers) ** -0.5
        self.blocks = nn.ModuleList(
            EncoderBlock(dims.d_model, dims.attention_heads, dims.dropout, residual_gain=residual_gain)
            for _ in range(dims.layers)
        )
        self.norm = nn.LayerNorm(dims.d_model)
        self.pool = AttentionPool(dims.d_model, dims.attention_heads, len(TASKS))

    def forward(self, segments: Tensor, attend: Tensor, kinds: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """The sequence H and its pools.

        Args:
            segments: (batch, segments, d_embed) of unit mean square.
            attend: (batch, 1, 1, segments) bool.
            kinds: (batch, segments) int64.
            positions: (batch, segments) int64.

        Returns:
            H (batch, segments, d_model) and the pools (batch, tasks, d_model), in the order of the table of tasks.
        """
        hidden = self.embed(self.dropout(segments)) + self.kind(kinds)
        hidden = hidden + 0.5 * sinusoidal_positions(positions, hidden.shape[-1]).to(hidden.dtype)
        for block in self.blocks:
            hidden = block(hidden, attend)
        hidden = self.norm(hidden)
        return hidden, self.pool(hidden, attend)

    def place(self, depths: Depths, after: int, *, after_pools: int) -> int:
        """``after`` is what H has still to pass elsewhere, ``after_pools`` what the pools have."""
        after = max(after, depths.chain(self.pool, after=after_pools))
        *blocks, last = self.blocks
        return depths.chain((self.embed, self.kind), *blocks, (last, self.norm), after=after)


class MeanPool(nn.Module):
    """What stands in the place of a backbone that is left out: the projected segments and their mean.

    It knows neither kinds nor positions, and no segment of another. What reads its sequence sees a set; only the filters of
    dsp_simulator and kalman_filter still go by the order in which segments stand.
    """

    def __init__(self, dims: ModelDimensions) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dims.embedding_dropout)
        self.embed = Projection(dims.d_embed, dims.d_model, bias=False)
        self.norm = nn.LayerNorm(dims.d_model)

    def forward(self, segments: Tensor, attend: Tensor, kinds: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """As ``Backbone.forward``; every task's pool is the same mean."""
        hidden = self.norm(self.embed(self.dropout(segments)))
        mean = masked_mean(hidden, attend[:, 0, 0])
        return hidden, mean.unsqueeze(1).expand(-1, len(TASKS), -1)

    def place(self, depths: Depths, after: int, *, after_pools: int) -> int:
        return depths.chain((self.embed, self.norm), after=max(after, after_pools))
