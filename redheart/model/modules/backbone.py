"""The backbone: a pre-norm transformer encoder over a story's segments, and one attention pool per task."""

from __future__ import annotations

from torch import Tensor, nn

from redheart.model.batch import KINDS
from redheart.model.depth import Depths
from redheart.model.modules.blocks import AttentionPool, EncoderBlock, Projection, masked_mean, sinusoidal_positions
from redheart.model.modules.radial_basis import RadialBasis, radial_basis_of
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
        self.radial_basis = radial_basis_of(dims)

    def forward(
        self, segments: Tensor, attend: Tensor, kinds: Tensor, positions: Tensor, views: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The sequence H, its pools, and how near the story stands to others.

        Args:
            segments: (batch, segments, d_embed) of unit mean square.
            attend: (batch, 1, 1, segments) bool.
            kinds: (batch, segments) int64.
            positions: (batch, segments) int64.
            views: (batch, 4 * d_embed), the linear views of the same segments.

        Returns:
            H (batch, segments, d_model); the pools (batch, tasks, d_model), in the order of the table of tasks; and the
            rbf_activations (batch, centres), of width 0 where no head reads it.
        """
        hidden = self.embed(self.dropout(segments)) + self.kind(kinds)
        hidden = hidden + 0.5 * sinusoidal_positions(positions, hidden.shape[-1]).to(hidden.dtype)
        for block in self.blocks:
            hidden = block(hidden, attend)
        hidden = self.norm(hidden)
        return hidden, self.pool(hidden, attend), _near(self.radial_basis, views)

    def place(self, depths: Depths, after: int, *, after_pools: int) -> int:
        """``after`` is what H has still to pass elsewhere, ``after_pools`` what the pools have; rbf_activations has a read-out."""
        if self.radial_basis is not None:
            self.radial_basis.place(depths, 1)
        after = max(after, depths.chain(self.pool, after=after_pools))
        *blocks, last = self.blocks
        return depths.chain((self.embed, self.kind), *blocks, (last, self.norm), after=after)


class MeanPool(nn.Module):
    """What stands in the place of a backbone that is left out: the projected segments and their mean.

    It knows neither kinds nor positions, and no segment of another. The radial basis functions stay: they are no part of
    the transformer, and their worth is asked for on its own. What reads its sequence sees a set; only the filters of
    dsp_simulator and kalman_filter still go by the order in which segments stand.
    """

    def __init__(self, dims: ModelDimensions) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dims.embedding_dropout)
        self.embed = Projection(dims.d_embed, dims.d_model, bias=False)
        self.norm = nn.LayerNorm(dims.d_model)
        self.radial_basis = radial_basis_of(dims)

    def forward(
        self, segments: Tensor, attend: Tensor, kinds: Tensor, positions: Tensor, views: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As ``Backbone.forward``; every task's pool is the same mean."""
        hidden = self.norm(self.embed(self.dropout(segments)))
        mean = masked_mean(hidden, attend[:, 0, 0])
        return hidden, mean.unsqueeze(1).expand(-1, len(TASKS), -1), _near(self.radial_basis, views)

    def place(self, depths: Depths, after: int, *, after_pools: int) -> int:
        if self.radial_basis is not None:
            self.radial_basis.place(depths, 1)
        return depths.chain((self.embed, self.norm), after=max(after, after_pools))


def _near(radial_basis: RadialBasis | None, views: Tensor) -> Tensor:
    return views[:, :0] if radial_basis is None else radial_basis(views)
