"""Models in miniature: a few tensors for each of the 17 modules."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from redheart.checkpoint import Manifest
from redheart.checkpoint.epoch import EpochWriter
from redheart.checkpoint.module_files import forms_of, whole
from redheart.tasks import MODULES

MANIFEST = Manifest(global_step=7, preset="tiny", d_embed=8, metrics={})


def a_state(seed: int, size: int = 5) -> dict[str, Tensor]:
    """Random weights in fp32, a bf16 weight and an integer buffer for each module."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for module in MODULES:
        state[f"{module}.weight"] = torch.randn(size, 3, generator=generator)
        state[f"{module}.inner.half"] = torch.randn(size, generator=generator).to(torch.bfloat16)
        state[f"{module}.count"] = torch.tensor(seed)
    return state


def same_bits(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    """Whether both hold the same tensors, NaN and signs of zero included."""
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype
        and left[name].shape == right[name].shape
        and left[name].reshape(-1).view(torch.uint8).equal(right[name].reshape(-1).view(torch.uint8))
        for name in left
    )


def save_start(output: Path, *, state: dict[str, Tensor], manifest: Manifest) -> Path:
    """The model before its first step, as a training leaves it."""
    writer = EpochWriter.of_start(output, forms_of(state), manifest)
    writer.folder.fill(whole(state))
    return writer.publish().path
