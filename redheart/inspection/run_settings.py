"""The settings that a run was made with, by dotted name: from its ``config.yaml``, else what ``run.json`` holds of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec

from redheart.config import Config, yaml_core
from redheart.errors import StorageError
from redheart.paths import OutputPaths
from redheart.storage import Json
from redheart.storage.structs import Settings

#: What an identity calls otherwise than the settings do.
_NAMES = {"preset": "model.preset", "dropout": "model.dropout", "learning_rate": "training.learning_rate"}
#: Of an identity what is no setting.
_NO_SETTING = ("dataset", "texts", "training.init_from")


class Setting(msgspec.Struct, frozen=True):
    """One that is not at its default; None where this version has no such setting."""

    name: str
    value: Json
    default: Json


@dataclass(frozen=True)
class RunSettings:
    """All that is known of them.

    Attributes:
        source: the file that says so; ``run.json`` holds only those that decide a run's numbers.
        values: of another version's settings too.
    """

    source: str | None
    values: Mapping[str, Json]

    def value(self, name: str) -> Json:
        """What holds at ``name``: of a whole file's settings the default where it says nothing."""
        return self.values.get(name, DEFAULTS.get(name) if self.source == OutputPaths.settings.name else None)

    def knows(self, name: str) -> bool:
        """Whether ``value`` is what the run had."""
        return name in self.values or self.source == OutputPaths.settings.name

    def changed(self) -> list[Setting]:
        """What is not at its default; where the run lies is told by its folder."""
        return [
            Setting(name, value, DEFAULTS.get(name))
            for name, value in self.values.items()
            if name != "output" and (name not in DEFAULTS or value != DEFAULTS[name])
        ]


def _flat(tree: Mapping[str, Json]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for key, value in tree.items():
        found |= {f"{key}.{name}": inner for name, inner in value.items()} if isinstance(value, dict) else {key: value}
    return found


DEFAULTS = _flat(msgspec.to_builtins(Config()))


def settings_of(folder: Path, identity: Settings | None) -> RunSettings:
    """The settings of the run in ``folder``.

    Raises:
        StorageError: ``config.yaml`` can't be read, or holds no settings.
    """
    path, of_run = OutputPaths(folder).settings, of_identity(identity)
    # The identity is of what ran: an earlier version's file has null for a learning rate that the sweep chose.
    return RunSettings(OutputPaths.settings.name, {**_read(path), **of_run.values}) if path.is_file() else of_run


def of_identity(identity: Settings | None) -> RunSettings:
    """What an identity says of settings."""
    if identity is None:
        return RunSettings(None, {})
    flat = _flat(cast("Mapping[str, Json]", identity))
    return RunSettings(
        OutputPaths.run.name, {_NAMES.get(name, name): value for name, value in flat.items() if name not in _NO_SETTING}
    )


def _read(path: Path) -> dict[str, Json]:
    try:
        tree = yaml_core.load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: could not read: {error}") from error
    if not isinstance(tree, dict):
        raise StorageError(f"{path}: found {tree!r:.60}, wanted settings by name")
    return _flat(tree)


def shown(value: Json) -> str:
    """As it is written in YAML, more or less."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
