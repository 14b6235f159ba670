"""The heads' closed-form paths as a model of their own – linear, and radial if there are centres –, for comparison."""

from __future__ import annotations

from typing import TypeAlias

from torch import Tensor, nn

from redheart.model.modules.heads import LinearPath, Predictor
from redheart.model.modules.radial_basis import RadialPath, radial_basis_of
from redheart.model.modules.views import VIEWS, linear_views
from redheart.model.presets import ModelDimensions
from redheart.model.statistics import TargetStatistics
from redheart.model.unified import Outputs, UnifiedModel, normalise
from redheart.tasks import TASK_BY_NAME, TASKS


class LinearHead(Predictor):
    """Of a head its linear path from the embeddings, and its radial path; nothing else."""

    def __init__(self, task: str, dims: ModelDimensions, statistics: TargetStatistics) -> None:
        super().__init__(task, statistics)
        self.linear = LinearPath(VIEWS * dims.d_embed, len(TASK_BY_NAME[task].dimensions), gain=0.0)

        self.radial = RadialPath(dims.centres, len(TASK_BY_NAME[task].dimensions)) if dims.centres else None

    def forward(self, views: Tensor, rbf_activations: Tensor | None) -> Tensor:
        """Views (batch, 4 * d_embed) and RBF activations (batch, centres) -> (batch, dims), relative to the prior."""
        prediction: Tensor = self.linear(views)
        if self.radial is not None and rbf_activations is not None:
            prediction = prediction + self.radial(rbf_activations)
        return self.relative_to_prior(prediction)


class LinearModel(nn.Module):
    """Takes and gives what ``UnifiedModel`` does: five heads that are linear, and, under the name that they have in the
    whole model, the radial basis functions that these read.
    """

    def __init__(self, config: ModelDimensions, statistics: TargetStatistics) -> None:
        super().__init__()
        self.config = config
        self.statistics = statistics
        self.views_dropout = nn.Dropout(config.embedding_dropout)
        basis = radial_basis_of(config)
        self.backbone = nn.ModuleDict({} if basis is None else {"radial_basis": basis})
        self.heads = nn.ModuleDict({task.name: LinearHead(task.name, config, statistics) for task in TASKS})

    def forward(self, segments: Tensor, segment_mask: Tensor, kinds: Tensor, positions: Tensor) -> Outputs:
        """As ``UnifiedModel.forward``; nothing auxiliary."""
        segments = normalise(segments, segment_mask)
        views = linear_views(segments, segment_mask, kinds)
        rbf_activations = self.backbone["radial_basis"](views) if len(self.backbone) else None
        views = self.views_dropout(views)
        return Outputs({name: head(views, rbf_activations) for name, head in self.heads.items()}, {})

    def distances(self) -> dict[str, int]:
        """As ``UnifiedModel.distances``: every layer is the last, but for the centres that the radial paths read."""
        return {name: int(name.startswith("backbone.")) for name, _ in self.named_parameters()}


#: What can be trained: the model, whole or with groups left out, or its closed-form paths alone.
Model: TypeAlias = UnifiedModel | LinearModel
