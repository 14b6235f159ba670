"""``neural_analyzers``: one deep expert tower per task over the backbone's sequence."""

from __future__ import annotations

from torch import Tensor, nn

from redheart.model.depth import Depths
from redheart.model.modules.blocks import AttentionPool, EncoderBlock, Projection
from redheart.model.presets import ModelDimensions
from redheart.tasks import TASK_BY_NAME


class Analyzer(nn.Module):
    """Reads the story for one task: features for that task's head and all wrappers, and its own prediction."""

    def __init__(self, task: str, dims: ModelDimensions) -> None:
        super().__init__()
        width = dims.analyzer_width
        residual_gain = (2 * dims.analyzer_layers) ** -0.5
        self.enter = Projection(dims.d_model, width)
        self.blocks = nn.ModuleList(
            EncoderBlock(width, dims.attention_heads, dims.dropout, residual_gain=residual_gain)
            for _ in range(dims.analyzer_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.pool = AttentionPool(width, dims.attention_heads, 1)
        self.features_norm = nn.LayerNorm(width)
        self.predict = Projection(width, len(TASK_BY_NAME[task].dimensions), gain=0.1)

    def forward(self, hidden: Tensor, attend: Tensor) -> tuple[Tensor, Tensor]:
        """H (batch, segments, d_model) -> features (batch, analyzer_width), prediction (batch, dims)."""
        x = self.enter(hidden)
        for block in self.blocks:
            x = block(x, attend)
        features = self.features_norm(self.pool(self.norm(x), attend).squeeze(1))
        return features, self.predict(features)

    def place(self, depths: Depths, after: int) -> int:
        after = max(after, depths.chain(self.predict, after=0))
        return depths.chain(self.enter, *self.blocks, (self.norm, self.pool, self.features_norm), after=after)
