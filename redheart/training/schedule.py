"""The learning rate at an optimizer step: a pure function, so nothing of it needs saving."""

from __future__ import annotations

import math

from redheart.config import TrainingConfig


def learning_rate_at(step: int, total_steps: int, peak: float, config: TrainingConfig) -> float:
    """Linear warm-up, then half a cosine down to ``final_lr_fraction`` of the peak.

    Args:
        step: optimizer step, from 0, of ``total_steps``; counted in optimizer steps, never in micro-batches.
        peak: the learning rate that the sweep chose.
    """
    warmup = max(1, round(total_steps * config.warmup_fraction))
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, total_steps - warmup)
    floor = config.final_lr_fraction
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))
