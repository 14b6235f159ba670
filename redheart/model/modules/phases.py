"""``phases``: three levels of looking at an act – self, empathy, community – and what integrates them.

Each level has a target of its own: what the narrator feels (emotions), what is regretted (regret), what the community
votes (the distribution of the votes). A level sees what the levels below it found.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redheart.model.depth import Depths
from redheart.model.modules.blocks import AttentionPool, Projection
from redheart.model.presets import ModelDimensions
from redheart.tasks import TASK_BY_NAME

#: Level -> the task whose dimensions it predicts; the community's target is ``votes``, in the verdict's dimensions.
LEVELS = {"self": "emotion", "empathy": "regret", "community": "verdict"}
#: Level -> the key of its target in a batch.
LEVEL_TARGETS = {"self": "emotion", "empathy": "regret", "community": "votes"}


class Level(nn.Module):
    """One level: its view of the story and the features of the levels below -> its features and prediction."""

    def __init__(self, d_in: int, width: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_in)
        self.combine = Projection(d_in, width)
        self.dropout = nn.Dropout(dropout)
        self.predict = Projection(width, outputs, gain=0.1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, d_in) -> features (batch, width), prediction (batch, outputs)."""
        features = self.dropout(F.gelu(self.combine(self.norm(x))))
        return features, self.predict(features)

    def place(self, depths: Depths, after: int) -> int:
        after = max(after, depths.chain(self.predict, after=0))
        return depths.chain((self.norm, self.combine), after=after)


class Phases(nn.Module):
    """The three levels and their integrator, whose features go to the emotion head."""

    def __init__(self, dims: ModelDimensions) -> None:
        super().__init__()
        width = dims.phase_width
        self.enter = Projection(dims.d_model, width, bias=False)
        self.pool = AttentionPool(width, dims.attention_heads, len(LEVELS))
        self.levels = nn.ModuleDict(
            {
                f"{name}_level": Level((1 + below) * width, width, len(TASK_BY_NAME[task].dimensions), dims.dropout)
                for below, (name, task) in enumerate(LEVELS.items())
            }
        )
        # The heads alone read these features.
        self.integrate = Projection(len(LEVELS) * width, width) if dims.has("heads") else nn.Identity()

    def forward(self, hidden: Tensor, attend: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """H (batch, segments, d_model) -> integrated features (batch, phase_width), predictions by level."""
        views = self.pool(self.enter(hidden), attend)
        found: list[Tensor] = []
        predictions: dict[str, Tensor] = {}
        for index, name in enumerate(LEVELS):
            features, predictions[name] = self.levels[f"{name}_level"](torch.cat((views[:, index], *found), dim=-1))
            found.append(features)
        return self.integrate(torch.cat(found, dim=-1)), predictions

    def place(self, depths: Depths, after: int) -> int:
        # Each level reads those below it, so the longest way leads through all of them.
        levels = (self.levels[f"{name}_level"] for name in LEVELS)
        return depths.chain(self.enter, self.pool, *levels, self.integrate, after=after)
