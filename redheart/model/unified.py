"""The whole model: what each part gets, and what becomes of what it gives."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from redheart.model.analyzers import Analyzer
from redheart.model.backbone import Backbone
from redheart.model.blocks import attention_mask
from redheart.model.depth import Depths
from redheart.model.dsp import DspSimulator
from redheart.model.heads import Head, linear_views
from redheart.model.kalman import KalmanFilter
from redheart.model.phases import LEVELS, Phases
from redheart.model.presets import ModelDimensions
from redheart.model.statistics import TargetStatistics
from redheart.model.wrappers import Wrapper
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


class UnifiedModel(nn.Module):
    """``prediction_t = head_t(pool_t(H), features_t) + gate_t * wrapper_t(all analyzers, H)``.

    The 17 modules of ``redheart.tasks.MODULES`` hold all its parameters; it has none of its own.
    """

    def __init__(self, config: ModelDimensions, statistics: TargetStatistics) -> None:
        super().__init__()
        self.config = config
        self.statistics = statistics
        self.backbone = Backbone(config)
        self.views_dropout = nn.Dropout(config.embedding_dropout)
        self.heads = nn.ModuleDict({task.name: Head(task.name, config, statistics) for task in TASKS})
        self.neural_analyzers = nn.ModuleDict({name: Analyzer(name, config) for name in ANALYZED_TASKS})
        self.advanced_wrappers = nn.ModuleDict({name: Wrapper(name, config) for name in ANALYZED_TASKS})
        self.phases = Phases(config)
        self.dsp_simulator = DspSimulator(config)
        self.kalman_filter = KalmanFilter(config)

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
        hidden, pools = self.backbone(segments, attend, kinds, positions)
        views = self.views_dropout(linear_views(segments, segment_mask, kinds))

        features: dict[str, Tensor] = {}
        found: dict[str, Tensor] = {}
        for name in ANALYZED_TASKS:
            features[name], found[name] = self.neural_analyzers[name](hidden, attend)
        all_features = torch.stack([features[name] for name in ANALYZED_TASKS], dim=1)
        phase_features, levels = self.phases(hidden, attend)
        signal_features, signal_found = self.dsp_simulator(hidden, segment_mask)
        state_features, state_found = self.kalman_filter(hidden, segment_mask)
        inputs = dict(features)
        inputs["emotion"] = torch.cat((features["emotion"], phase_features, signal_features, state_features), dim=-1)
        inputs["verdict"] = all_features.flatten(1)

        predictions: dict[str, Tensor] = {}
        auxiliary: dict[str, Tensor] = {}
        for index, task in enumerate(TASKS):
            name = task.name
            head = self._head(name)
            units = head.relative_to_prior
            prediction = head(pools[:, index], inputs[name], views)
            if name in ANALYZED_TASKS:
                correction, gated = self.advanced_wrappers[name](all_features, hidden, attend)
                prediction = prediction + gated
                auxiliary[f"neural_analyzers.{name}"] = units(found[name])
                auxiliary[f"advanced_wrappers.{name}"] = units(found[name].detach() + correction)
            predictions[name] = units(prediction)
        for level, task_name in LEVELS.items():
            auxiliary[f"phases.{level}"] = self._head(task_name).relative_to_prior(levels[level])
        auxiliary["dsp_simulator"] = self._head("emotion").relative_to_prior(signal_found)
        auxiliary["kalman_filter"] = self._head("emotion").relative_to_prior(state_found)
        return Outputs(predictions, auxiliary)

    def distances(self) -> dict[str, int]:
        """Each parameter's distance from the output by its name: the layers that follow its own, on the longest path.

        0 is the last layer before a prediction, auxiliary ones included.

        Raises:
            ValueError: a parameter's module does not declare where it stands.
        """
        depths = Depths()
        heads = {task.name: depths.chain(self.heads[task.name], after=0) for task in TASKS}
        wrappers = [depths.chain(self.advanced_wrappers[name], after=0) for name in ANALYZED_TASKS]
        sequence_readers = [*wrappers]
        for name in ANALYZED_TASKS:
            features_readers = (heads[name], heads["verdict"], *wrappers)
            sequence_readers.append(depths.chain(self.neural_analyzers[name], after=max(features_readers)))
        for part in (self.phases, self.dsp_simulator, self.kalman_filter):
            sequence_readers.append(depths.chain(part, after=heads["emotion"]))
        self.backbone.place(depths, max(sequence_readers), after_pools=max(heads.values()))
        return depths.by_name(self)

    def _head(self, task: str) -> Head:
        return cast(Head, self.heads[task])


def normalise(segments: Tensor, segment_mask: Tensor) -> Tensor:
    """Each real segment scaled to unit mean square (encoders differ in their vectors' length), padding to zero."""
    segments = segments.float().masked_fill(~segment_mask.unsqueeze(-1), 0.0)
    return segments * torch.rsqrt(segments.square().mean(dim=-1, keepdim=True).clamp(min=1e-12))


def modules_of(model: nn.Module) -> dict[str, nn.Module]:
    """The 17 modules by name. Together they hold each parameter exactly once; a name is its state dict keys' prefix."""
    return {name: model.get_submodule(name) for name in MODULES}
