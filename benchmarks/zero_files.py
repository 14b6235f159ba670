"""Checkpoints in the layout of DeepSpeed's ZeRO, written without DeepSpeed: for tests, and as large as a benchmark wants them.

One process's file is made after the other, so a checkpoint of N processes takes the memory of one.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

TAG = "global_step3"
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Model:
    """What is trained: groups of parameters, and what no optimizer holds.

    Attributes:
        shared: a second name of a parameter, and its first.
    """

    groups: Sequence[Tensors]
    buffers: Tensors = field(default_factory=dict)
    frozen: Tensors = field(default_factory=dict)
    shared: Mapping[str, str] = field(default_factory=dict)


def _flat_part_of_group(group: Tensors, rank: int, ranks: int) -> Tensor:
    """ZeRO-1 and 2: the flattened group in equal parts; the padding at its end is taken off again."""
    flat = torch.cat([one.reshape(-1) for one in group.values()])
    length = math.ceil(len(flat) / (2 * ranks)) * 2
    return flat[rank * length : (rank + 1) * length].clone()


def _flat_part_of_parameters(group: Tensors, rank: int, ranks: int) -> Tensor:
    """ZeRO-3: each parameter in equal parts, the last one padded."""
    parts = []
    for one in group.values():
        length = math.ceil(one.numel() / ranks)
        part = one.reshape(-1)[rank * length : (rank + 1) * length]
        parts.append(torch.nn.functional.pad(part, (0, length - len(part))))
    return torch.cat(parts)


def _shapes(tensors: Tensors) -> OrderedDict[str, torch.Size]:
    return OrderedDict((name, tensor.shape) for name, tensor in tensors.items())


def _optimizer(model: Model, stage: int, rank: int, ranks: int) -> dict[str, Any]:
    cut = _flat_part_of_parameters if stage == 3 else _flat_part_of_group
    flat = [cut(group, rank, ranks) for group in model.groups]
    moments = {
        number: {
            "step": torch.tensor(3.0),
            "exp_avg": torch.full_like(one, 0.5),
            "exp_avg_sq": torch.full_like(one, 0.25),
        }
        for number, one in enumerate(flat)
    }
    base = {"state": moments, "param_groups": [{"lr": 0.01, "params": [number]} for number in range(len(flat))]}
    if stage == 3:
        return {"zero_stage": 3, "partition_count": ranks, "optimizer_state_dict": base, "fp32_flat_groups": flat}
    return {
        "zero_stage": stage,
        "partition_count": [ranks] * len(flat),
        "base_optimizer_state": base,
        "single_partition_of_fp32_groups": flat,
        "param_alignment_paddings": [[0] * len(group) for group in model.groups],
    }


def _model_states(model: Model, stage: int, rank: int, ranks: int) -> dict[str, Any]:
    whole = {name: one for group in model.groups for name, one in group.items()} | dict(model.frozen)
    frozen = _frozen(model, rank, ranks) if stage == 3 else dict(model.frozen)
    weights = {
        name: torch.empty(0, dtype=torch.bfloat16) if stage == 3 else one.bfloat16() for name, one in whole.items()
    }
    return {
        "module": OrderedDict(weights | dict(model.buffers)),
        "buffer_names": list(model.buffers),
        "param_shapes": [_shapes(group) for group in model.groups],
        "frozen_param_shapes": _shapes(model.frozen) if stage > 1 else None,
        "frozen_param_fragments": frozen if stage > 1 else None,
        "shared_params": dict(model.shared) if rank == 0 else {},
        "ds_config": {"zero_optimization": {"stage": stage}},
        "ds_version": "0.19.8",
    }


def _frozen(model: Model, rank: int, ranks: int) -> dict[str, Tensor]:
    return {name: _flat_part_of_parameters({name: one}, rank, ranks) for name, one in model.frozen.items()}


def write_zero(folder: Path, model: Model, *, stage: int, ranks: int) -> Path:
    """Writes the checkpoint of ``ranks`` processes under ``folder``; returns the folder with its files."""
    inner = folder / TAG
    inner.mkdir(parents=True)
    for rank in range(ranks):
        state = {"optimizer_state_dict": _optimizer(model, stage, rank, ranks), "ds_version": "0.19.8"}
        torch.save(state, inner / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
        if stage == 3 or rank == 0:
            prefix = f"zero_pp_rank_{rank}_" if stage == 3 else ""
            torch.save(_model_states(model, stage, rank, ranks), inner / f"{prefix}mp_rank_00_model_states.pt")
    (folder / "latest").write_text(TAG)
    return inner
