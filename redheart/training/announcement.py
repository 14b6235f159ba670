"""The announcement of a training, logged before its first step; of optional settings it names those that are on."""

from __future__ import annotations

from collections.abc import Mapping

from redheart.config import Config, TrainingConfig
from redheart.engine.contract import Engine
from redheart.messages import info, text


def announce_training(
    config: Config, engine: Engine, *, counts: Mapping[str, int], learning_rate: float, preset: str, why: str
) -> None:
    """Says how long, how fast, of what size, cut how, and on what.

    Args:
        counts: situations by split.
        why: ``preset`` was chosen, in words.
    """
    training, geometry = config.training, engine.geometry
    info(
        "training.start",
        epochs=training.epochs,
        learning_rate=learning_rate,
        preset=preset,
        why=why,
        engine=engine.kind,
        precision="fp32" if engine.precision == "no" else engine.precision,
    )
    info(
        "training.geometry",
        micro=geometry.micro_batch_size,
        accumulation=geometry.gradient_accumulation_steps,
        world=geometry.world_size,
        total=geometry.global_batch_size,
    )
    info("training.splits", **counts)
    if options := options_turned_on(training):
        info("training.options", options=", ".join(options))
    if training.no_param_update:
        info("training.dry_run")


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
