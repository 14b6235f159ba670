"""What ``gpu_train_step`` measures: the model, eager and compiled, and a plain transformer with as many operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from redheart.config import TrainingConfig
from redheart.model import Batch, ModelDimensions, TargetStatistics, UnifiedModel, compute_losses
from redheart.model.batch import WHOLE_TEXT
from redheart.model.flops import count_flops
from redheart.model.losses import TARGETS
from redheart.tasks import TASK_BY_NAME
from redheart.training.optimizer import build_optimizer

Step = Callable[[Batch], None]


def make_batch(dims: ModelDimensions, situations: int, device: torch.device, seed: int = 0) -> Batch:
    """Random stories of the full number of segments – title, action, windows, the whole text –, every target annotated."""
    generator = torch.Generator().manual_seed(seed)
    segments = dims.max_segments
    kinds = torch.full((situations, segments), 2)
    kinds[:, 0], kinds[:, 1], kinds[:, -1] = 0, 1, WHOLE_TEXT
    targets: dict[str, Tensor] = {}
    for name, task in TARGETS.items():
        numbers = torch.randn(situations, len(TASK_BY_NAME[task].dimensions), generator=generator)
        targets[name] = numbers.softmax(-1) if TASK_BY_NAME[task].is_distribution else numbers.sigmoid()
    return Batch(
        ids=[""] * situations,
        segments=torch.randn(situations, segments, dims.d_embed, generator=generator),
        segment_mask=torch.ones(situations, segments, dtype=torch.bool),
        kinds=kinds,
        positions=(torch.arange(segments) - 2).clamp(min=0).repeat(situations, 1),
        targets=targets,
        target_mask={name: torch.ones_like(target, dtype=torch.bool) for name, target in targets.items()},
    ).to(device)


def make_step(
    module: nn.Module, optimizer: torch.optim.Optimizer, loss_of: Callable[[Batch], Tensor], device: torch.device
) -> Step:
    """A whole training step in bf16: forward, backward, clipping, update."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]

    def step(batch: Batch) -> None:
        with torch.autocast(device.type, torch.bfloat16):
            loss = loss_of(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


@dataclass
class Model:
    """The model with one optimizer and two ways through: as it is, and – once it is – compiled as training compiles it."""

    module: UnifiedModel
    eager: Step
    compiled: Step
    parameters: int
    forward_flops: float


def build_model(dims: ModelDimensions, device: torch.device) -> Model:
    """The model on ``device``, its weights drawn there."""
    torch.manual_seed(0)
    with device:
        module = UnifiedModel(dims, TargetStatistics.neutral()).train()
    optimizer = build_optimizer(module, 1e-4, TrainingConfig())
    plain = module.forward

    def loss_by(forward: Callable[..., Any]) -> Callable[[Batch], Tensor]:
        return lambda batch: compute_losses(forward(*batch.inputs), batch, module.statistics).total

    return Model(
        module,
        make_step(module, optimizer, loss_by(plain), device),
        make_step(module, optimizer, loss_by(module), device),
        sum(parameter.numel() for parameter in module.parameters()),
        count_flops(dims, segments=dims.max_segments, situations=16).per_situation,
    )


class Peer(nn.Module):
    """``torch.nn.TransformerEncoder``, pre-norm, as wide as the model, over the same segments."""

    def __init__(self, dims: ModelDimensions, layers: int) -> None:
        super().__init__()
        self.enter = nn.Linear(dims.d_embed, dims.d_model)
        layer = nn.TransformerEncoderLayer(
            dims.d_model,
            dims.attention_heads,
            4 * dims.d_model,
            dims.dropout,
            "gelu",
            batch_first=True,
            norm_first=True,
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.leave = nn.Linear(dims.d_model, 24)

    def forward(self, segments: Tensor, segment_mask: Tensor) -> Tensor:
        hidden = self.encoder(self.enter(segments), src_key_padding_mask=~segment_mask)
        result: Tensor = self.leave(hidden.mean(dim=1))
        return result


def peer_flops(dims: ModelDimensions, layers: int) -> float:
    """Operations of a situation's forward pass: 24 s w² + 4 s² w per layer, s segments of width w, and both ends."""
    s, w = dims.max_segments, dims.d_model
    return layers * (24 * s * w * w + 4 * s * s * w) + 2 * s * dims.d_embed * w + 2 * w * 24


def layers_for(dims: ModelDimensions, forward_flops: float) -> int:
    """How many layers the peer needs for as many operations."""
    one = peer_flops(dims, 1) - peer_flops(dims, 0)
    return max(1, round((forward_flops - peer_flops(dims, 0)) / one))


def build_peer(dims: ModelDimensions, layers: int, device: torch.device, backend: str | None) -> tuple[Step, int]:
    """The peer's step, compiled unless ``backend`` is None, and its number of parameters.

    The number of situations is left open in its graph, as in the model's.
    """
    torch.manual_seed(0)
    with device:
        module = Peer(dims, layers).train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, fused=device.type == "cuda" or None)
    through: Any = torch.compile(module, fullgraph=True, dynamic=False, backend=backend) if backend else module

    def loss(batch: Batch) -> Tensor:
        for tensor in (batch.segments, batch.segment_mask):
            torch._dynamo.maybe_mark_dynamic(tensor, 0)
        result: Tensor = through(batch.segments, batch.segment_mask).float().square().mean()
        return result

    return make_step(module, optimizer, loss, device), sum(parameter.numel() for parameter in module.parameters())
