"""The identity of a run: the settings that decide its numbers, the data and the seed. Imports no torch."""

from __future__ import annotations

from pathlib import Path

import msgspec

from redheart.config import Config
from redheart.storage import Scalar
from redheart.storage.structs import Settings
from redheart.training.init_from import solves_start, source_identity

#: Settings of the training that decide where and how loudly it runs, not what it computes.
_NOT_IDENTITY = {
    "monitor_every",
    "liveness_steps",
    "strict",
    "dead_update_threshold",
    "learning_rate",
    "activation_checkpointing",
    "probe_memory",
    "save_every_minutes",
    "checkpoint_dtype",
    "keep_epochs",
    "keep_last",
    "keep_best",
}
#: Settings that came later, and the value at which a run is what it was before there were any: it keeps its identity.
_OFF: dict[str, Scalar] = {
    "layer_lr_decay": 1.0,
    "schedule": "cosine",
    "ema_decay": 0.0,
    "label_smoothing": 0.0,
    "r_drop": 0.0,
    "compile": False,
}


def _training(config: Config) -> dict[str, Scalar]:
    section = msgspec.to_builtins(config.training)
    if section["schedule"] != "wsd":
        del section["decay_fraction"]  # which nothing reads
    section["ema_decay"] = section["ema_decay"] or 0.0
    section["linear_start"] = solves_start(config.training)
    if (source := section.pop("init_from")) is not None:
        section["init_from"] = source_identity(Path(source))  # another checkpoint may lie there later
    return {
        key: value
        for key, value in section.items()
        if key not in _NOT_IDENTITY and not (key in _OFF and value == _OFF[key])
    }


def trial_identity(config: Config, dataset_identity: str) -> Settings:
    """What a sweep's trial means, as a JSON-able mapping: model, optimizer, batch, loss, data, seed.

    The main training's dry run and the cut into micro-batches do not change a trial.
    """
    training = _training(config)
    for key in ("epochs", "no_param_update", "micro_batch_size", "gradient_accumulation_steps"):
        training.pop(key)
    return {
        "dataset": dataset_identity,
        "model": msgspec.to_builtins(config.model),
        "training": training,
        "epochs": config.trial_epochs,
        "seed": config.seed,
    }


def run_identity(config: Config, dataset_identity: str, preset: str, learning_rate: float) -> Settings:
    """What a main training means; a run with the same is gone on with, one with another starts anew."""
    training = _training(config)
    training.pop("micro_batch_size")
    training.pop("gradient_accumulation_steps")
    return {
        "dataset": dataset_identity,
        "preset": preset,
        "dropout": config.model.dropout,
        "training": training,
        "learning_rate": learning_rate,
        "seed": config.seed,
    }


#: What the best learning rate does not hang on, of what a trial means.
_NOT_OF_A_RATE = ("seed", "training.max_nonfinite_steps", "training.compile")


def rate_settings(trial: Settings) -> dict[str, Scalar]:
    """By dotted name, what the best learning rate hangs on, of what ``trial_identity`` says; those that are off too."""
    off = {f"training.{name}": value for name, value in _OFF.items()}
    return {name: value for name, value in {**off, **flat(trial)}.items() if name not in _NOT_OF_A_RATE}


def flat(settings: Settings) -> dict[str, Scalar]:
    """``{"training": {"epochs": 3}}`` -> ``{"training.epochs": 3}``."""
    found: dict[str, Scalar] = {}
    for key, value in settings.items():
        found |= {f"{key}.{name}": inner for name, inner in value.items()} if isinstance(value, dict) else {key: value}
    return found
