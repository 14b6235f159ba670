"""``heads``: the predictions that count, one per task.

A head reads its pool and its analyzer's features; the emotion head also what phases, dsp and kalman found, and the
verdict's, which has no analyzer of its own, all four analyzers. Beside that each has a linear path straight from the
sentence encoder's vectors: ridge on these is the baseline to beat, and the model can always be at least as simple. And a radial
path from the story's RBF activations to others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redheart.model.depth import Depths
from redheart.model.modules.blocks import FeedForward, Projection
from redheart.model.modules.radial_basis import RadialPath
from redheart.model.modules.views import VIEWS
from redheart.model.presets import ModelDimensions
from redheart.model.statistics import TargetStatistics
from redheart.tasks import ANALYZED_TASKS, TASK_BY_NAME


def feature_widths(task: str, dims: ModelDimensions) -> dict[str, int]:
    """What a head reads beside its pool: the width of each module's features, in order; only of modules that exist."""
    analyzers = (task,) if task in ANALYZED_TASKS else ANALYZED_TASKS
    widths = {f"neural_analyzers.{name}": dims.analyzer_width for name in analyzers}
    if task == "emotion":
        widths |= {"phases": dims.phase_width, "dsp_simulator": dims.signal_width, "kalman_filter": dims.state_width}
    return {module: width for module, width in widths.items() if dims.has(module)}


class Predictor(nn.Module):
    """Predicts one task relative to the training split's statistics, which travel with it as buffers.

    Attributes:
        reads: the modules whose features it gets, in order.
    """

    prior_log: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, task: str, statistics: TargetStatistics, reads: Iterable[str] = ()) -> None:
        super().__init__()
        self.reads = tuple(reads)
        self.is_distribution = TASK_BY_NAME[task].is_distribution
        one = statistics[task]
        if self.is_distribution:
            self.register_buffer("prior_log", torch.tensor([math.log(share) for share in one.prior]))
        else:
            # Not used in the forward pass, where units are standardised: whoever has this file can serve natural units.
            self.register_buffer("mean", torch.tensor(one.mean, dtype=torch.float32))
            self.register_buffer("scale", torch.tensor(one.scale, dtype=torch.float32))

    def relative_to_prior(self, prediction: Tensor) -> Tensor:
        """In fp32; distributions get the logarithm of the prior added, so that 0 means the prior."""
        prediction = prediction.float()
        return prediction + self.prior_log.float() if self.is_distribution else prediction


class LinearPath(Projection):
    """Straight from the linear views. Zero, or filled with the best linear prediction (``redheart.training.linear_start``)."""


class Head(Predictor):
    """From a task's pool, the features of other modules and the linear path to its prediction."""

    def __init__(self, task: str, dims: ModelDimensions, statistics: TargetStatistics) -> None:
        widths = feature_widths(task, dims)
        super().__init__(task, statistics, widths)
        outputs = len(TASK_BY_NAME[task].dimensions)
        width = dims.head_width
        self.pool_norm = nn.LayerNorm(dims.d_model)
        self.features_norm = nn.LayerNorm(sum(widths.values())) if widths else nn.Identity()
        self.combine = Projection(dims.d_model + sum(widths.values()), width)
        self.layers = nn.ModuleList(FeedForward(width, dims.dropout) for _ in range(dims.head_layers))
        self.norm = nn.LayerNorm(width)
        # Small enough not to spoil what the linear path starts with, and not nothing: all behind it has a gradient.
        self.read_out = Projection(width, outputs, bias=False, gain=0.01)
        self.linear = LinearPath(VIEWS * dims.d_embed, outputs, gain=0.0)
        self.radial = RadialPath(dims.centres, outputs) if dims.centres else None

    def forward(self, pool: Tensor, features: Tensor, views: Tensor, rbf_activations: Tensor) -> Tensor:
        """Predicts (batch, dims), relative to the prior's logarithm or standardised.

        Args:
            pool: (batch, d_model).
            features: (batch, all their widths); width 0 if it reads none.
            views: (batch, 4 * d_embed).
            rbf_activations: (batch, centres); width 0 without centres.
        """
        x = F.gelu(self.combine(torch.cat((self.pool_norm(pool), self.features_norm(features)), dim=-1)))
        for layer in self.layers:
            x = layer(x)
        prediction: Tensor = self.read_out(self.norm(x)) + self.linear(views)
        return prediction if self.radial is None else prediction + self.radial(rbf_activations)

    def place(self, depths: Depths, after: int) -> int:
        depths.chain(self.linear, after=after)
        if self.radial is not None:
            depths.chain(self.radial, after=after)
        entrance = (self.pool_norm, self.features_norm, self.combine)
        return depths.chain(entrance, *self.layers, (self.norm, self.read_out), after=after)


class PoolReadOut(Predictor):
    """What stands in the place of a head that is left out: linear in its pool. It reads nobody's features."""

    def __init__(self, task: str, dims: ModelDimensions, statistics: TargetStatistics) -> None:
        super().__init__(task, statistics)
        self.pool_norm = nn.LayerNorm(dims.d_model)
        self.read_out = Projection(dims.d_model, len(TASK_BY_NAME[task].dimensions), gain=0.1)

    def forward(self, pool: Tensor, features: Tensor, views: Tensor, rbf_activations: Tensor) -> Tensor:
        """Pool (batch, d_model) -> (batch, dims); the others are ignored."""
        prediction: Tensor = self.read_out(self.pool_norm(pool))
        return prediction

    def place(self, depths: Depths, after: int) -> int:
        return depths.chain((self.pool_norm, self.read_out), after=after)
