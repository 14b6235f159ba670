"""``advanced_wrappers``: cross-task towers that look at all analyzers at once and correct each task."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redheart.model.depth import Depths
from redheart.model.modules.blocks import CrossBlock, Projection
from redheart.model.presets import ModelDimensions
from redheart.tasks import ANALYZED_TASKS, TASK_BY_NAME


class StackedProjection(nn.Module):
    """One linear layer for each of several inputs, as one batched product."""

    INPUT_AXES: ClassVar[dict[str, int]] = {"weight": 1}

    def __init__(self, count: int, d_in: int, d_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, d_in, d_out))
        self.bias = nn.Parameter(torch.empty(count, d_out))
        nn.init.normal_(self.weight, std=d_in**-0.5)
        # Unlike biases tell the analyzers apart from the first step on.
        nn.init.normal_(self.bias, std=0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, count, d_in) -> (batch, count, d_out)."""
        return torch.einsum("bni,nio->bno", x, self.weight) + self.bias


class Wrapper(nn.Module):
    """Corrects one task: the four analyzers' features attend to each other and to the sequence H.

    The correction enters twice: whole, on top of the analyzer's own (detached) prediction, where the wrapper's loss
    trains it; and through ``gate`` on top of the head's, in the prediction that counts.
    """

    def __init__(self, task: str, dims: ModelDimensions) -> None:
        super().__init__()
        width = dims.wrapper_width
        residual_gain = (2 * dims.wrapper_layers) ** -0.5
        outputs = len(TASK_BY_NAME[task].dimensions)
        read = dims.analyzer_width if dims.has("neural_analyzers") else dims.d_model
        self.enter_features = StackedProjection(len(ANALYZED_TASKS), read, width)
        self.enter_sequence = Projection(dims.d_model, width)
        self.memory_norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(
            CrossBlock(width, dims.attention_heads, dims.dropout, residual_gain=residual_gain)
            for _ in range(dims.wrapper_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.combine = Projection(len(ANALYZED_TASKS) * width, width)
        self.correct = Projection(width, outputs, gain=0.1)
        # Neither factor of gate * correction starts at zero, so both have a gradient at the first step.
        self.gate = nn.Parameter(torch.full((outputs,), 0.2))

    def forward(self, features: Tensor, hidden: Tensor, attend: Tensor) -> tuple[Tensor, Tensor]:
        """All analyzers' features (batch, analyzers, analyzer_width), H (batch, segments, d_model) -> two corrections.

        Where analyzers are left out, their tasks' pools (batch, analyzers, d_model) take the place of their features.

        Returns:
            The correction (batch, dims), and the same times the gate.
        """
        tokens = self.enter_features(features)
        memory = self.memory_norm(self.enter_sequence(hidden))
        every_token = attend.new_ones(attend.shape[0], 1, 1, tokens.shape[1])
        attend_all = torch.cat((every_token, attend), dim=-1)
        for block in self.blocks:
            tokens = block(tokens, memory, attend_all)
        correction = self.correct(F.gelu(self.combine(self.norm(tokens).flatten(1))))
        return correction, self.gate * correction

    def place(self, depths: Depths, after: int) -> int:
        entrance = (self.enter_features, self.enter_sequence, self.memory_norm)
        return depths.chain(entrance, *self.blocks, (self.norm, self.combine), (self.correct, self.gate), after=after)
