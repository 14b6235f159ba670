"""AdamW. Matrices decay, vectors (biases, norms, gates) do not; and the deeper a layer, the lower its learning rate may be.

With ``training.layer_lr_decay`` below 1 a parameter learns at the rate of the schedule times ``decay ** distance``, its
distance from the output being what the model declares (see ``redheart/model/depth.py``).
"""

from __future__ import annotations

import torch
from torch import nn

from redheart.config import TrainingConfig
from redheart.model import Model

#: Where a group keeps what its rate is multiplied by; a group without it learns at the rate of the schedule.
SCALE = "learning_rate_scale"


def decays(parameter: nn.Parameter) -> bool:
    """Whether weight decay applies: to matrices and higher, by the parameter's full shape under ZeRO-3 too."""
    return len(getattr(parameter, "ds_shape", parameter.shape)) >= 2


def learning_rate_scales(model: Model, config: TrainingConfig) -> dict[str, float]:
    """What each parameter's learning rate is multiplied by: ``layer_lr_decay`` to the power of its distance from the output.

    Raises:
        ValueError: a parameter whose depth no module declares.
    """
    if config.layer_lr_decay == 1.0:
        return {name: 1.0 for name, _ in model.named_parameters()}
    return {name: config.layer_lr_decay**distance for name, distance in model.distances().items()}


def build_optimizer(model: Model, learning_rate: float, config: TrainingConfig) -> torch.optim.AdamW:
    """The optimizer of the main training and of every trial of the sweep.

    Raises:
        ValueError: see ``learning_rate_scales``.
    """
    scales = learning_rate_scales(model, config)
    groups = []
    for scale in sorted(set(scales.values()), reverse=True):
        members = [p for name, p in model.named_parameters() if p.requires_grad and scales[name] == scale]
        settings = {} if config.layer_lr_decay == 1.0 else {"lr": learning_rate * scale, SCALE: scale}
        for weight_decay, parameters in (
            (config.weight_decay, [p for p in members if decays(p)]),
            (0.0, [p for p in members if not decays(p)]),
        ):
            if parameters:
                groups.append({"params": parameters, "weight_decay": weight_decay, **settings})
    on_cuda = torch.cuda.is_available()
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.95), eps=1e-8, fused=on_cuda or None)
