"""What ``auto`` comes to: the preset by the plan, and the plan's request that follows from a configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from redheart.config import Config
from redheart.machine import Precision, capacity
from redheart.messages import text
from redheart.plan.choice import Request, make_plan
from redheart.plan.hardware import Hardware

#: Presets from the largest.
BY_SIZE = ("730m", "small", "tiny")


def request_of(
    config: Config, preset: str, hardware: Hardware, *, segments: int | None = None, situations: int = 0
) -> Request:
    """What the main training of ``config`` asks of ``hardware``, with vectors of the default's width.

    Args:
        segments: of every situation; None: the most that a situation may have.
        situations: of the training split.
    """
    training = config.training
    in_16_bits = hardware.has_gpu and hardware.has_bf16
    own: Precision = "bf16" if in_16_bits else "no"
    return Request(
        preset,
        own if training.precision == "auto" else training.precision,
        training.global_batch_size,
        segments or config.embedding.max_segments,
        micro_batch=training.micro_batch_size,
        passes=training.gradient_accumulation_steps,
        recomputes=training.activation_checkpointing or None,
        doubles=bool(training.r_drop),
        has_average=bool(training.ema_decay),
        situations=situations if training.linear_start is not False and training.init_from is None else None,
    )


def choose_preset(config: Config) -> tuple[str, str]:
    """The preset that trains here, and why, in words.

    It is part of what a run is, so it does not depend on what other programs take of the memory at the moment, nor on how the
    batch is cut, nor on whether all GPUs can share it: that is for those to say that take all of them.
    """
    if config.model.preset != "auto":
        return config.model.preset, text("workflow.preset_asked")
    import torch

    if not torch.cuda.is_available():
        return "tiny", text("workflow.preset_cpu")
    hardware = Hardware.of(capacity(Path(config.output)))
    if not hardware.has_gpu:  # PyTorch has a device that the driver's library knows nothing of: another maker's
        return BY_SIZE[0], text("workflow.preset_cuda")
    batch = config.training.global_batch_size
    gpus = next(count for count in range(min(hardware.gpus, batch), 0, -1) if batch % count == 0)
    hardware = replace(hardware, gpus=gpus)
    for preset in BY_SIZE:
        request = replace(request_of(config, preset, hardware), micro_batch=None, passes=None)
        if (chosen := make_plan(request, hardware).chosen) is not None:
            return preset, text("plan.preset_fits", strategy=chosen.strategy.name)
    return BY_SIZE[-1], text("plan.preset_none_fits")
