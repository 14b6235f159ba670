"""The whole model: which inputs each part gets, and where its outputs go."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from redheart.facts.model import ModelFacts
from redheart.model.batch import WHOLE_TEXT
from redheart.model.depth import Depths
from redheart.model.hub import HubModel
from redheart.model.modules.analyzers import Analyzer
from redheart.model.modules.backbone import Backbone, MeanPool
from redheart.model.modules.blocks import attention_mask
from redheart.model.modules.dsp import DspSimulator
from redheart.model.modules.heads import Head, PoolReadOut, Predictor
from redheart.model.modules.kalman import KalmanFilter
from redheart.model.modules.phases import LEVELS, Phases
from redheart.model.modules.views import linear_views
from redheart.model.modules.wrappers import Wrapper
from redheart.model.presets import ModelDimensions
from redheart.model.statistics import TargetStatistics
from redheart.tasks import ANALYZED_TASKS, MODULES, TASKS


class Outputs(NamedTuple):
    """What a forward pass gives. A tuple of dicts of tensors, because that is what DeepSpeed's hooks see into.

    All numbers are fp32 and in the model's units: logits with the prior's logarithm already added for distributions,
    standardised units for regressions.

    Attributes:
        predictions: (batch, dims) by task: what is scored and served.
        auxiliary: (batch, dims) by module: ``neural_analyzers.<task>``, ``advanced_wrappers.<task>`` (the analyzer's
            prediction, detached, with the wrapper's correction), ``phases.<level>``, ``dsp_simulator``,
            ``kalman_filter``.
    """

    predictions: dict[str, Tensor]
    auxiliary: dict[str, Tensor]


class UnifiedModel(nn.Module, HubModel):
    """``prediction_t = head_t(pool_t(H), features_t) + gate_t * wrapper_t(all analyzers, H)``.

    The 17 modules of ``redheart.tasks.MODULES`` hold all its parameters; it has none of its own. Those of the groups in
    ``config.without`` are absent or have a simple replacement under their name.

    Attributes:
        facts: where it comes from – encoder, data, training –, as its checkpoint tells; empty for one that comes from none.
    """

    def __init__(self, config: ModelDimensions, statistics: TargetStatistics) -> None:
        super().__init__()
        self.config = config
        self.statistics = statistics
        self.facts = ModelFacts()
        analyzed, wrapped = (
            ANALYZED_TASKS if config.has(group) else () for group in ("neural_analyzers", "advanced_wrappers")
        )
        head = Head if config.has("heads") else PoolReadOut
        self.backbone = Backbone(config) if config.has("backbone") else MeanPool(config)
        self.views_dropout = nn.Dropout(config.embedding_dropout)
        self.heads = nn.ModuleDict({task.name: head(task.name, config, statistics) for task in TASKS})
        self.neural_analyzers = nn.ModuleDict({name: Analyzer(name, config) for name in analyzed})
        self.advanced_wrappers = nn.ModuleDict({name: Wrapper(name, config) for name in wrapped})
        self.phases = Phases(config) if config.has("phases") else None
        self.dsp_simulator = DspSimulator(config) if config.has("dsp_simulator") else None
        self.kalman_filter = KalmanFilter(config) if config.has("kalman_filter") else None

    def forward(self, segments: Tensor, segment_mask: Tensor, kinds: Tensor, positions: Tensor) -> Outputs:
        """Predicts all tasks.

        Args:
            segments: (batch, segments, d_embed) float32, padding after the real ones; padding's content is ignored.
            segment_mask: (batch, segments) bool, True = real.
            kinds: (batch, segments) int64.
            positions: (batch, segments) int64.
        """
        segments = normalise(segments, segment_mask).to(self.backbone.embed.weight.dtype)
        attend = attention_mask(segment_mask)
        views = linear_views(segments, segment_mask, kinds)
        hidden, pools, rbf_activations = self.backbone(segments, attend, kinds, positions, views)
        views = self.views_dropout(views)

        # By module: what others read, and its own prediction. A module that was left out is in neither.
        features: dict[str, Tensor] = {}
        found: dict[str, Tensor] = {}
        for name, analyzer in self.neural_analyzers.items():
            module = f"neural_analyzers.{name}"
            features[module], found[module] = analyzer(hidden, attend)
        if self.phases is not None:
            features["phases"], levels = self.phases(hidden, attend)
            found |= {f"phases.{level}": prediction for level, prediction in levels.items()}
        # The text whole stands after the story's course and is no moment of it.
        course = segment_mask & (kinds != WHOLE_TEXT)
        if self.dsp_simulator is not None:
            features["dsp_simulator"], found["dsp_simulator"] = self.dsp_simulator(hidden, course)
        if self.kalman_filter is not None:
            features["kalman_filter"], found["kalman_filter"] = self.kalman_filter(hidden, course)

        pool_of = {task.name: pools[:, index] for index, task in enumerate(TASKS)}
        # Wrappers read the tasks' pools in the place of analyzers that were left out.
        analyses = torch.stack(
            [features.get(f"neural_analyzers.{name}", pool_of[name]) for name in ANALYZED_TASKS], dim=1
        )
        predictions: dict[str, Tensor] = {}
        for name, pool in pool_of.items():
            head = self._head(name)
            read = [features[module] for module in head.reads]
            predictions[name] = head(pool, torch.cat(read, dim=-1) if read else pool[:, :0], views, rbf_activations)
            if name in self.advanced_wrappers:
                correction, gated = self.advanced_wrappers[name](analyses, hidden, attend)
                predictions[name] = predictions[name] + gated
                analysis = found.get(f"neural_analyzers.{name}", torch.zeros_like(correction))
                found[f"advanced_wrappers.{name}"] = analysis.detach() + correction
        return Outputs(
            {name: self._head(name).relative_to_prior(prediction) for name, prediction in predictions.items()},
            {name: self._head(_task_of(name)).relative_to_prior(prediction) for name, prediction in found.items()},
        )

    def distances(self) -> dict[str, int]:
        """Each parameter's distance from the output by its name: the layers that follow its own, on the longest path.

        0 is the last layer before a prediction, auxiliary ones included.

        Raises:
            ValueError: a parameter's module does not declare where it stands.
        """
        depths = Depths()
        heads = {task.name: depths.chain(self.heads[task.name], after=0) for task in TASKS}
        wrappers = [depths.chain(wrapper, after=0) for wrapper in self.advanced_wrappers.values()]
        sequence_readers = [0, *wrappers]
        read_all = [heads[task.name] for task in TASKS if not task.is_analyzed]
        for name, analyzer in self.neural_analyzers.items():
            features_readers = (heads[name], *read_all, *wrappers)
            sequence_readers.append(depths.chain(analyzer, after=max(features_readers)))
        for part in (self.phases, self.dsp_simulator, self.kalman_filter):
            if part is not None:
                sequence_readers.append(depths.chain(part, after=heads["emotion"]))
        pool_readers = heads.values() if len(self.neural_analyzers) else (*heads.values(), *wrappers)
        self.backbone.place(depths, max(sequence_readers), after_pools=max(pool_readers))
        return depths.by_name(self)

    def _head(self, task: str) -> Predictor:
        return cast(Predictor, self.heads[task])


def _task_of(auxiliary: str) -> str:
    """Whose units an auxiliary prediction is in."""
    module, _, part = auxiliary.partition(".")
    return LEVELS[part] if module == "phases" else part or "emotion"


def normalise(segments: Tensor, segment_mask: Tensor) -> Tensor:
    """Each real segment scaled to unit mean square (encoders differ in their vectors' length), padding to zero."""
    segments = segments.float().masked_fill(~segment_mask.unsqueeze(-1), 0.0)
    return segments * torch.rsqrt(segments.square().mean(dim=-1, keepdim=True).clamp(min=1e-12))


def modules_of(model: nn.Module) -> dict[str, nn.Module]:
    """The modules by name, all 17 of them unless groups were left out.

    Together they hold each parameter exactly once; a name is its state dict keys' prefix.
    """
    there = dict(model.named_modules())
    return {name: there[name] for name in MODULES if name in there}
