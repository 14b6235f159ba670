"""The DeepSpeed configuration: the JSON file chooses the strategy; batch, clipping and precision are filled in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from redheart.errors import ConfigError
from redheart.storage import Json, Scalar

#: In DeepSpeed's own form, of which ours is only what is filled in.
DeepSpeedConfig = dict[str, Json]


def section_of(config: DeepSpeedConfig, name: str) -> DeepSpeedConfig:
    """The section ``name``; empty where there is none."""
    found = config.get(name)
    return found if isinstance(found, dict) else {}


#: Sections by which DeepSpeed would train otherwise than is said here, and what says it. They would be passed over, or fail later.
_NOT_OURS = {
    "optimizer": "the optimizer is AdamW, by training.learning_rate, training.weight_decay and training.layer_lr_decay",
    "scheduler": "the schedule is training.schedule, with training.warmup_fraction and training.final_lr_fraction",
    "amp": "mixed precision is training.precision",
    "curriculum_learning": "the order of the data is a function of seed and epoch",
    "data_efficiency": "the order of the data is a function of seed and epoch",
    "compression_training": "weights are trained as they are",
    "progressive_layer_drop": "what is dropped is said by model.dropout",
    "pipeline": "layers are not spread over devices",
    "tensor_parallel": "layers are not spread over devices",
}


def _check_sections(path: Path, config: DeepSpeedConfig) -> None:
    """Nothing that a file says of a training is passed over in silence.

    Raises:
        ConfigError: naming the section and what says it here.
    """
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: found {type(config).__name__}, wanted an object of DeepSpeed's settings")
    for name, instead in _NOT_OURS.items():
        if name in config:
            raise ConfigError(
                f"{path}: found a section '{name}', which would not be followed: {instead}; remove it there"
            )


def check_filled(path: Path, config: Mapping[str, Json], at: str = "") -> None:
    """Whether nothing is left open that DeepSpeed can't fill in for itself.

    Raises:
        ConfigError: naming the key.
    """
    for name, value in config.items():
        if isinstance(value, dict):
            check_filled(path, value, f"{at}{name}.")
        elif value == "auto":
            raise ConfigError(f"{path}: '{at}{name}' is \"auto\", and nothing here fills it in; wanted a value")


def check_stage(path: Path, config: DeepSpeedConfig) -> None:
    """Whether DeepSpeed has for it the optimizer that the engine knows.

    Raises:
        ConfigError: ZeRO-1 in bf16, for which it has one of another kind, that shares out no gradients.
    """
    if section_of(config, "zero_optimization").get("stage") == 1 and section_of(config, "bf16").get("enabled"):
        raise ConfigError(
            f"{path}: zero_optimization.stage is 1 and training.precision bf16; wanted stage 2 (launch/zero2.yaml), which is the same "
            "in less memory, or training.precision=no"
        )


def fill_deepspeed_config(
    path: Path, values: Mapping[str, Scalar], sizes: Mapping[str, int] | None = None
) -> DeepSpeedConfig:
    """The JSON at ``path`` with every ``"auto"`` replaced by ours; a literal that contradicts ours is an error.

    Args:
        values: dotted keys, such as ``bf16.enabled``.
        sizes: of what is in flight: they take the place of an ``"auto"`` only, and a literal of the JSON stands.

    Raises:
        ConfigError: naming the file, the key, both values; or a section that would not be followed.
    """
    try:
        filled: DeepSpeedConfig = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not a readable DeepSpeed config: {error}") from error
    _check_sections(path, filled)
    for dotted, size in (sizes or {}).items():
        section, _, leaf = dotted.partition(".")
        if section_of(filled, section).get(leaf) == "auto":
            section_of(filled, section)[leaf] = size
    for dotted, ours in values.items():
        *sections, leaf = dotted.split(".")
        place = filled
        if dotted.endswith(".pin_memory") and not section_of(section_of(filled, "zero_optimization"), sections[-1]):
            continue  # this strategy offloads nothing there
        for section in sections:
            place = place.setdefault(section, {})  # type: ignore[assignment]
        theirs = place.get(leaf, "auto")
        if theirs == "auto":
            place[leaf] = ours
        elif theirs != ours:
            raise ConfigError(
                f"{path}: '{dotted}' is {theirs!r}, but our configuration says {ours!r}; "
                f'write "auto" there, or change ours to agree'
            )
    return filled
