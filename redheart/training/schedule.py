"""The learning-rate schedule: a step's rate as a pure function, so nothing of it is saved; times each group's scale.

Parameters learn at the schedule's rate, or, where their optimizer group has a scale (``optimizer.learning_rate_scales``), at so
many times it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from redheart.config import TrainingConfig

#: Where an optimizer's group keeps what its learning rate is multiplied by; one without it learns at the schedule's rate.
SCALE = "learning_rate_scale"


def learning_rate_at(step: int, total_steps: int, peak: float, config: TrainingConfig) -> float:
    """Linear warm-up, then down to ``final_lr_fraction`` of the peak by ``training.schedule``.

    ``cosine``: half a cosine over all that is left. ``wsd``: the peak until the last ``decay_fraction`` of all steps,
    then as 1 − √(share of them that is done), Hägele et al. 2024 (*Scaling Laws and Compute-Optimal Training Beyond Fixed
    Training Durations*, arXiv 2405.18392, §3).

    Args:
        step: optimizer step, from 0, of ``total_steps``; counted in optimizer steps, never in micro-batches.
        peak: the learning rate that the sweep chose.
    """
    warmup = max(1, round(total_steps * config.warmup_fraction))
    if step < warmup:
        return peak * (step + 1) / warmup
    if config.schedule == "wsd":
        decay = min(round(total_steps * config.decay_fraction), total_steps - warmup)
        progress = (step - (total_steps - decay)) / max(1, decay)
        left = 1 - math.sqrt(min(1.0, max(0.0, progress)))
    else:
        progress = (step - warmup) / max(1, total_steps - warmup)
        left = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    floor = config.final_lr_fraction
    return peak * (floor + (1 - floor) * left)


def set_learning_rate(groups: Iterable[dict[str, Any]], learning_rate: float) -> None:
    """Gives the optimizer's groups the schedule's ``learning_rate``, each times its scale."""
    for group in groups:
        group["lr"] = learning_rate * group.get(SCALE, 1.0)
