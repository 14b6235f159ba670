"""Which of the options that change training are turned on, in words: what is off is not spoken of."""

from __future__ import annotations

from redheart.config import TrainingConfig
from redheart.messages import text


def options_turned_on(config: TrainingConfig) -> list[str]:
    """One phrase an option; empty where training is as plain as it can be."""
    options = []
    if config.schedule == "wsd":
        options.append(text("training.option_schedule_wsd", share=config.decay_fraction))
    if config.layer_lr_decay != 1.0:
        options.append(text("training.option_layer_lr_decay", decay=config.layer_lr_decay))
    if config.ema_decay:
        options.append(text("training.option_ema", decay=config.ema_decay))
    if config.label_smoothing:
        options.append(text("training.option_label_smoothing", share=config.label_smoothing))
    if config.r_drop:
        options.append(text("training.option_r_drop", weight=config.r_drop))
    return options
