"""The resolution of a stage's open settings: learning rate, preset and precision, with the reason for each.

Nothing is said here and nothing started: the stages say what they train with, and ``--print-config`` prints it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from redheart.config import Config, Resolution, setting, with_settings
from redheart.machine import choose_precision, choose_preset
from redheart.messages import text
from redheart.paths import OutputPaths
from redheart.storage.structs import Scalar

#: Taken where neither a sweep nor the user has said otherwise: AdamW's usual value for transformers of this size.
DEFAULT_LEARNING_RATE = 3e-4
#: What the ablation takes for ``auto``, on whatever device: it trains dozens of models.
SMALLEST_PRESET = "tiny"


@dataclass(frozen=True)
class LearningRate:
    """A learning rate and who chose it.

    Attributes:
        path: where the sweep's choice is, or would be.
        why: the reason in words.
    """

    value: float
    kind: Literal["given", "sweep", "default"]
    path: Path
    why: str


def choose_learning_rate(config: Config, *, asks_sweep: bool = True) -> LearningRate:
    """What was asked for, else the sweep's choice, if it ``asks_sweep``, else the default.

    Raises:
        StorageError: the sweep's choice is damaged.
    """
    path = OutputPaths(config.output).optimal_lr
    if config.training.learning_rate is not None:
        return LearningRate(config.training.learning_rate, "given", path, text("config.given"))
    if not asks_sweep:
        return LearningRate(DEFAULT_LEARNING_RATE, "default", path, text("config.lr_default"))
    if path.exists():
        from redheart.sweep import read_optimal_lr

        return LearningRate(read_optimal_lr(path), "sweep", path, text("config.lr_sweep", path=path))
    return LearningRate(DEFAULT_LEARNING_RATE, "default", path, text("config.lr_no_sweep", path=path))


def resolve(
    config: Config, learning_rate: LearningRate | None = None, *, takes_smallest_preset: bool = False
) -> Resolution:
    """``config`` with preset and precision settled for this machine, and with ``learning_rate``, if one is given.

    Args:
        takes_smallest_preset: a preset of ``auto`` is the smallest, not the device's.
    """
    settings: dict[str, Scalar] = {}
    reasons: dict[str, str] = {}
    if takes_smallest_preset and config.model.preset == "auto":
        preset, why = SMALLEST_PRESET, text("config.preset_smallest")
    else:
        preset, why = choose_preset(config)
    settings["model.preset"], reasons["model.preset"] = preset, why
    settings["training.precision"], reasons["training.precision"] = choose_precision(config)
    if learning_rate is not None:
        settings["training.learning_rate"] = learning_rate.value
        reasons["training.learning_rate"] = learning_rate.why
    return Resolution(config, with_settings(config, settings), reasons)


def equivalents(config: Config) -> list[Config]:
    """Ways to ask for what ``config`` asks for on this machine, itself first: preset and precision as ``auto``, or as what
    ``auto`` comes to here.

    A run stores what it came to, so its own ``config.yaml`` asks in other words for what made it.
    """
    found = [config]
    for key, settle in (("model.preset", choose_preset), ("training.precision", choose_precision)):
        given, settled = setting(config, key), settle(with_settings(config, {key: "auto"}))[0]
        if given in ("auto", settled):
            other = settled if given == "auto" else "auto"
            found += [with_settings(one, {key: other}) for one in found]
    return found


def as_the_run_there(config: Config) -> Config:
    """``config``, with the precision in the words of the run in the output folder, where these mean the same here.

    So it is that run, to be gone on with or skipped, and not another one that moves it out of the way. Several processes
    call this before the first of them touches the folder, so that all find the same.
    """
    from redheart.training.run_folder import read_run

    there = read_run(Path(config.output))
    if there is None:
        return config
    training = (there.identity or {}).get("training")
    asked = training.get("precision") if isinstance(training, dict) else None
    if asked == config.training.precision or there.precision != choose_precision(config)[0]:
        return config
    alike = [one for one in equivalents(config) if one.training.precision == asked]
    return with_settings(config, {"training.precision": alike[0].training.precision}) if alike else config


def as_the_sweep_there(config: Config, dataset_identity: str) -> Config:
    """``config`` in the words of a sweep of it that lies in the output folder, if one does."""
    from redheart.sweep.identity import sweep_identity, sweeps_of

    results = OutputPaths(config.output).sweep
    there = (one for one in equivalents(config) if sweeps_of(results, sweep_identity(one, dataset_identity)))
    return next(there, config)
