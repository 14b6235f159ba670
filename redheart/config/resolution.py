"""The resolved configuration: every open setting settled, what was asked for, and the reason for each choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from redheart.config.schema import Config
from redheart.storage.structs import Scalar


def setting(config: Config, key: str) -> Any:
    """The value at a dotted key."""
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


def with_settings(config: Config, settings: Mapping[str, Scalar]) -> Config:
    """``config`` with each dotted key of ``settings`` at its new value; the types of the values are the caller's care."""
    for key, value in settings.items():
        section, _, name = key.rpartition(".")
        if section:
            changed = msgspec.structs.replace(getattr(config, section), **{name: value})
            config = msgspec.structs.replace(config, **{section: changed})
        else:
            config = msgspec.structs.replace(config, **{name: value})
    return config


@dataclass(frozen=True)
class Resolution:
    """What a stage trains with, and how it came to that.

    Attributes:
        asked: the configuration as it was given. Identities are computed from it, so that they are the same on whatever
            device ``auto`` is resolved.
        config: the same with learning rate, preset and precision settled, where the stage needs them: what is handed on
            and stored. Micro-batch and accumulation stay as they were asked for: they follow from the number of
            processes, and what ran stands in ``run.json``.
        reasons: of each settled setting, by dotted key, in words.
    """

    asked: Config
    config: Config
    reasons: Mapping[str, str]

    @property
    def learning_rate(self) -> float:
        """The peak learning rate; only of a resolution that settled one."""
        learning_rate = self.config.training.learning_rate
        assert learning_rate is not None
        return learning_rate

    @property
    def changed(self) -> dict[str, str]:
        """The reasons of the settings that were left open and are not any more."""
        return {key: why for key, why in self.reasons.items() if setting(self.asked, key) != setting(self.config, key)}

    def with_only(self, *keys: str) -> Config:
        """What was asked for, with the settings ``keys`` alone settled."""
        return with_settings(self.asked, {key: setting(self.config, key) for key in keys})
