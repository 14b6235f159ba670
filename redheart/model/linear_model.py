"""The linear path alone: what is left of the model without anything nonlinear, to see what all of that is worth."""

from __future__ import annotations

from typing import TypeAlias

from torch import Tensor, nn

from redheart.model.heads import LinearPath, Predictor
from redheart.model.presets import ModelDimensions
from redheart.model.statistics import TargetStatistics
from redheart.model.unified import Outputs, UnifiedModel, normalise
from redheart.model.views import VIEWS, linear_views
from redheart.tasks import TASK_BY_NAME, TASKS


class LinearHead(Predictor):
    """Of a head its linear path from the embeddings; nothing else."""

    def __init__(self, task: str, dims: ModelDimensions, statistics: TargetStatistics) -> None:
        super().__init__(task, statistics)
        self.linear = LinearPath(VIEWS * dims.d_embed, len(TASK_BY_NAME[task].dimensions), gain=0.0)

    def forward(self, views: Tensor) -> Tensor:
        """Views (batch, 4 * d_embed) -> (batch, dims), relative to the prior."""
        return self.relative_to_prior(self.linear(views))


class LinearModel(nn.Module):
    """Takes and gives what ``UnifiedModel`` does, with five linear heads as its only modules."""

    def __init__(self, config: ModelDimensions, statistics: TargetStatistics) -> None:
        super().__init__()
        self.config = config
        self.statistics = statistics
        self.views_dropout = nn.Dropout(config.embedding_dropout)
        self.heads = nn.ModuleDict({task.name: LinearHead(task.name, config, statistics) for task in TASKS})

    def forward(self, segments: Tensor, segment_mask: Tensor, kinds: Tensor, positions: Tensor) -> Outputs:
        """As ``UnifiedModel.forward``; nothing auxiliary."""
        segments = normalise(segments, segment_mask)
        views = self.views_dropout(linear_views(segments, segment_mask, kinds))
        return Outputs({name: head(views) for name, head in self.heads.items()}, {})

    def distances(self) -> dict[str, int]:
        """As ``UnifiedModel.distances``: every layer is the last."""
        return dict.fromkeys((name for name, _ in self.named_parameters()), 0)


#: What can be trained: the model, whole or with groups left out, or its linear path alone.
Model: TypeAlias = UnifiedModel | LinearModel
