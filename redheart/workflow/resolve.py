"""The resolution of a stage's open settings: learning rate, preset and precision, with the reason for each; and whether the
sweep that chose a learning rate was made with what it is taken for.

Nothing is said here and nothing started: the stages say what they train with, and ``--print-config`` prints it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from redheart.config import Config, Resolution, setting, with_settings
from redheart.errors import StorageError
from redheart.facts.learning_rate import RateOrigin, SettingDiffers
from redheart.machine import choose_precision
from redheart.messages import debug, text
from redheart.paths import OutputPaths
from redheart.plan.auto import choose_preset
from redheart.storage.structs import Scalar

if TYPE_CHECKING:
    from redheart.embedding import EmbeddedDataset
    from redheart.sweep.optimal import SweepChoice

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


def rate_origin(config: Config, dataset: EmbeddedDataset, chosen: LearningRate, *, epochs: int) -> RateOrigin:
    """Where a learning rate is from. One that was typed and is the choice of the sweep that lies there is that sweep's.

    Args:
        config: with preset and precision settled.
        epochs: that are trained with it.

    Raises:
        StorageError: the sweep's choice is damaged, and was asked for.
    """
    from redheart.training.identity import rate_settings, trial_identity

    choice = _choice_of_the_sweep(chosen)
    if choice is None:
        return RateOrigin(kind=chosen.kind)
    situations = dataset.facts.counts["train"]
    now = rate_settings(trial_identity(config, _data_as_swept(config, dataset))) | {
        "epochs": epochs,
        "situations": situations,
    }
    then = _made_with(config, dataset, choice, now)
    differs = [
        SettingDiffers(name, value, now.get(name))
        for name, value in then.settings.items()
        if value not in (now.get(name), None)
    ]
    # A sweep for this very run would have such trials.
    short = {"epochs": config.trial_epochs, "situations": min(config.sweep.max_situations, situations)}
    return RateOrigin(
        kind=chosen.kind,
        sweep=choice.sweep or "–",
        differs=tuple(
            _with_path(one, then.data, str(dataset.path)) if one.name == "dataset" else one for one in differs
        ),
        is_by_design=bool(differs) and all(one.sweep == short.get(one.name) for one in differs),
        is_on_record=then.is_all,
    )


def _data_as_swept(config: Config, dataset: EmbeddedDataset) -> str:
    """The identity that a sweep of this data would have it by; its own where those that are there can't be read."""
    from redheart.sweep.identity import data_identity

    try:
        return data_identity(dataset.identity, dataset.texts_identity, OutputPaths(config.output).sweep)
    except StorageError as error:
        debug(str(error))
        return dataset.identity


def _choice_of_the_sweep(chosen: LearningRate) -> SweepChoice | None:
    """The choice that lies there, where the learning rate is that."""
    from redheart.sweep.optimal import read_choice

    if chosen.kind == "default" or not chosen.path.exists():
        return None
    try:
        choice = read_choice(chosen.path)
    except StorageError:
        if chosen.kind == "given":  # it need not be there
            return None
        raise
    return choice if choice.learning_rate == chosen.value else None


@dataclass(frozen=True)
class _MadeWith:
    """What is on record of a sweep's trials: settings by name, the path of the data, and whether it is all."""

    settings: dict[str, Scalar]
    data: str
    is_all: bool


def _made_with(config: Config, dataset: EmbeddedDataset, choice: SweepChoice, now: Mapping[str, Scalar]) -> _MadeWith:
    """Of an older sweep, which kept no settings, their hash tells whether they are those of ``now``."""
    from redheart.sweep import read_chosen_for
    from redheart.sweep.identity import describe_sweep, sweep_identity
    from redheart.training.identity import rate_settings

    results = OutputPaths(config.output).sweep
    lengths: dict[str, Scalar] = {"epochs": choice.epochs, "situations": choice.training_situations}
    try:
        described, older = describe_sweep(results, choice.sweep), read_chosen_for(results)
    except StorageError as error:  # it says how good a choice is, and is not needed to train
        debug(str(error))
        return _MadeWith(lengths, "–", False)
    if described is not None and described.trial is not None:
        return _MadeWith({**rate_settings(described.trial), **lengths}, described.data or "–", True)
    if described is not None and choice.epochs is not None:
        same = msgspec.structs.replace(config, sweep=described.sweep, seed=described.seed)
        same = with_settings(same, {"training.epochs": choice.epochs})
        if any(sweep_identity(one, dataset.identity) == described.identity for one in equivalents(same)):
            return _MadeWith({**now, **lengths}, str(dataset.path), True)
    if older is not None:
        return _MadeWith({"dataset": older.dataset, "model.preset": older.preset, **lengths}, older.path, False)
    return _MadeWith(lengths, "–", False)


def _with_path(one: SettingDiffers, then: str, now: str) -> SettingDiffers:
    """Of the data, whose identities tell nothing to people, paths too."""
    return SettingDiffers(one.name, f"{then} ({one.sweep})", f"{now} ({one.run})")
