"""DeepSpeed internals that have no public call: which parameters its optimizer holds, writing those that it does not, whether
the gradients it has are finite, and dropping them without a step.

ZeRO keeps gradients in places of its own, and counts the backward passes since the last step to know whether the next
one adds to what is there or replaces it. Dropping is what its own optimizers do after an overflow.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

#: What ZeRO's optimizers set their count of backward passes to at a step: 1 and 2 count before a pass, 3 after it.
_BEFORE_FIRST_PASS = {1: -1, 2: -1, 3: 0}


def optimized_groups(optimizer: Any) -> list[tuple[int, list[nn.Parameter]]]:
    """The model's parameters that a ZeRO optimizer holds, with the number of the parameter group each belongs to."""
    if hasattr(optimizer, "sub_group_to_group_id"):  # ZeRO-3 cuts groups into smaller ones
        return [(optimizer.sub_group_to_group_id[number], group) for number, group in enumerate(optimizer.fp16_groups)]
    return list(enumerate(optimizer.bit16_groups))


def full_parameter_outside(parameter: nn.Parameter) -> Tensor:
    """A parameter that the optimizer does not hold, whole, in fp32. Collective under ZeRO-3, which cuts it all the same."""
    if not hasattr(parameter, "ds_id"):
        return parameter.detach().float()
    import deepspeed

    with deepspeed.zero.GatheredParameters([parameter]):
        return parameter.detach().float().clone()


def set_parameter_outside(parameter: nn.Parameter, value: Tensor) -> None:
    """The inverse: writes it, the same value on every process. Collective under ZeRO-3."""
    if not hasattr(parameter, "ds_id"):
        parameter.copy_(value)
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0):
        parameter.copy_(value)


def link_optimizer_state(optimizer: Any) -> None:
    """Lets ZeRO-1 and 2 know of an optimizer state that another than its own step made."""
    optimizer._hp_optimizer_states_linked = False
    optimizer._lazy_init_hp_params_optimizer_state()


def held_gradients_are_finite(optimizer: Any) -> bool:
    """Whether the shard of ZeRO-3's gradients that this process holds, after a step's last backward, is finite."""
    if optimizer.offload_optimizer:
        held = [flat.grad for flat in optimizer.fp32_partitioned_groups_flat if flat.grad is not None]
    else:
        held = [gradient for group in optimizer.averaged_gradients.values() for gradient in group or ()]
    return all(bool(torch.isfinite(gradient).all()) for gradient in held)


def drop_gradients(engine: Any) -> None:
    """Makes the next step of a ``DeepSpeedEngine`` what it would have been without the backward passes since the last."""
    optimizer = engine.optimizer
    engine.zero_grad()
    optimizer.zero_grad()
    optimizer.micro_step_id = _BEFORE_FIRST_PASS[engine.zero_optimization_stage()]
    # Absent in older versions, and each only where this strategy has it.
    for name in ("_offload_accumulated_param_ids", "_offload_boundary_param_ids"):
        if hasattr(optimizer, name):
            setattr(optimizer, name, set())
    if hasattr(optimizer, "_release_preflattened_grad_buffers"):
        optimizer._release_preflattened_grad_buffers()
    for name in ("averaged_gradients", "all_grad_tensors"):
        if hasattr(optimizer, name):
            setattr(optimizer, name, {})
    if getattr(optimizer, "cpu_offload", False) or getattr(optimizer, "offload_optimizer", False):
        optimizer.reset_cpu_buffers()
