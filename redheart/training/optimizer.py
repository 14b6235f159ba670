"""AdamW over two groups: matrices decay, vectors (biases, norms, gates) do not."""

from __future__ import annotations

import torch
from torch import nn

from redheart.config import TrainingConfig


def decays(parameter: nn.Parameter) -> bool:
    """Whether weight decay applies: to matrices and higher, by the parameter's full shape under ZeRO-3 too."""
    return len(getattr(parameter, "ds_shape", parameter.shape)) >= 2


def build_optimizer(model: nn.Module, learning_rate: float, config: TrainingConfig) -> torch.optim.AdamW:
    """The optimizer of the main training and of every trial of the sweep."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if decays(p)], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if not decays(p)], "weight_decay": 0.0},
    ]
    on_cuda = torch.cuda.is_available()
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.95), eps=1e-8, fused=on_cuda or None)
