"""The loading of a configuration: one YAML file, then dotted overrides (``training.epochs=3``), checked as a whole."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from redheart.config import yaml_core
from redheart.config.schema import Config
from redheart.config.type_description import accepts_null, accepts_text, wanted
from redheart.errors import ConfigError
from redheart.storage.names import fault_of_letters


def _known(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every dotted key and its type; a section's type is its class."""
    for field in msgspec.structs.fields(struct):
        key = f"{prefix}{field.name}"
        yield key, field.type
        if _is_section(field.type):
            yield from _known(field.type, f"{key}.")


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


KNOWN_KEYS = dict(_known(Config))
SECTIONS = [key for key, kind in KNOWN_KEYS.items() if _is_section(kind)]


def _unknown(key: str) -> str:
    close = difflib.get_close_matches(key, KNOWN_KEYS, n=1, cutoff=0.5)
    if not close:  # a key typed without its section, or under the wrong one
        leaf = key.rpartition(".")[2]
        leaves = {known.rpartition(".")[2]: known for known in KNOWN_KEYS}
        close = [leaves[match] for match in difflib.get_close_matches(leaf, leaves, n=1, cutoff=0.5)]
    return f"unknown key '{key}'; " + (
        f"did you mean '{close[0]}'?" if close else f"sections are {', '.join(SECTIONS)}"
    )


def _shown(value: Any) -> str:
    """A value as it would be typed."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


@dataclass(frozen=True)
class Source:
    """Where a setting was given.

    Attributes:
        name: the file's path, the override as typed; empty for an option, which the command line knows by its setting.
    """

    kind: Literal["file", "override", "option"]
    name: str = ""


@dataclass(frozen=True)
class Loaded:
    """A configuration and where its settings come from.

    Attributes:
        sources: of each dotted key that was given, whoever was the last to say; a key that is absent has its default.
    """

    config: Config
    sources: Mapping[str, Source]


class _Settings:
    """Settings as they come in, and everything that is wrong with them."""

    def __init__(self) -> None:
        self.tree: dict[str, Any] = {}
        self.sources: dict[str, Source] = {}
        self.problems: list[str] = []

    def add(self, source: Source, key: str, value: Any) -> None:
        """One setting, if it is known and its value is of its type."""
        where = source.name if source.kind == "file" else source.kind
        if key not in KNOWN_KEYS:
            self.problems.append(f"{where}: {_unknown(key)}")
            return
        kind = KNOWN_KEYS[key]
        if _is_section(kind):
            self._add_section(source, where, key, value)
            return
        try:
            msgspec.convert(value, kind, strict=True)
            is_finite = not isinstance(value, float) or math.isfinite(value)
        except msgspec.ValidationError:
            is_finite = False
        if not is_finite:
            self.problems.append(f"{where}: '{key}': found {_shown(value)}, wanted {wanted(kind)}")
            return
        if isinstance(value, str) and (found := fault_of_letters(value) if value.strip() else "an empty text"):
            self.problems.append(f"{where}: '{key}': found {found}, {value!r}, wanted {wanted(kind)}")
            return
        *sections, leaf = key.split(".")
        inner = self.tree
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[leaf] = value
        self.sources[key] = source

    def _add_section(self, source: Source, where: str, key: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for name, inner in value.items():
                self.add(source, f"{key}.{name}", inner)
        elif value is not None:  # a section with nothing under it is empty
            self.problems.append(
                f"{where}: '{key}' is a section: found {_shown(value)}, wanted a mapping of its settings"
            )

    def add_file(self, path: Path) -> None:
        try:
            content = yaml_core.load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: can't be read: {error.strerror or error}") from error
        except ValueError as error:  # of the YAML, or of the encoding
            raise ConfigError(f"{path}: not valid YAML: {error}") from error
        if content is not None and not isinstance(content, Mapping):
            raise ConfigError(f"{path}: found {type(content).__name__}, wanted a mapping of sections")
        for name, value in (content or {}).items():
            self.add(Source("file", str(path)), str(name), value)

    def add_override(self, typed: str) -> None:
        key, equals, raw = typed.partition("=")
        where = f"override '{typed}'"
        if not equals:
            self.problems.append(f"{where}: wanted KEY=VALUE, such as training.epochs=3")
            return
        if key in SECTIONS:
            self.problems.append(f"{where}: '{key}' is a section, not a setting; wanted {key}.KEY=VALUE")
            return
        kind = KNOWN_KEYS.get(key)
        if accepts_null(kind) and not raw.strip():
            self.problems.append(
                f"{where}: found nothing after the equals sign (is a variable unset?), wanted {wanted(kind)}"
            )
            return
        if accepts_text(kind):  # a folder may be called 2025 or a: b
            self.add(Source("override", typed), key, None if raw in ("null", "~") else raw)
            return
        try:
            value = yaml_core.load(raw)
        except ValueError as error:
            self.problems.append(f"{where}: the value is not valid YAML: {error}")
            return
        self.add(Source("override", typed), key, value)


def _contradictions(config: Config) -> list[str]:
    """What types can't say."""
    problems = []
    sweep, training, spot = config.sweep, config.training, config.sweet_spot
    if sweep.lr_min >= sweep.lr_max:
        problems.append(f"sweep.lr_min {sweep.lr_min:g} is not below sweep.lr_max {sweep.lr_max:g}")
    if training.micro_batch_size and training.global_batch_size % training.micro_batch_size:
        problems.append(
            f"training.global_batch_size {training.global_batch_size} is not a multiple of "
            f"training.micro_batch_size {training.micro_batch_size}"
        )
    if training.schedule == "wsd" and training.warmup_fraction + training.decay_fraction > 1.0:
        problems.append(
            f"training.warmup_fraction {training.warmup_fraction:g} and training.decay_fraction "
            f"{training.decay_fraction:g} are more than all steps: wanted a sum of at most 1"
        )
    if training.r_drop and not config.model.dropout:
        problems.append(
            f"training.r_drop {training.r_drop:g} compares two passes under different dropout, and model.dropout is 0: "
            "wanted dropout above 0, or r_drop 0"
        )
    weights = spot.loss_weight + spot.task_weight + spot.stability_weight + spot.gradient_weight
    if abs(weights - 1.0) > 1e-6:
        problems.append(
            "sweet_spot.loss_weight, task_weight, stability_weight and gradient_weight "
            f"sum to {weights:g}, wanted a sum of 1"
        )
    return problems


def _refuse(problems: Sequence[str]) -> None:
    if len(problems) == 1:
        raise ConfigError(problems[0])
    if problems:
        raise ConfigError("\n".join((f"{len(problems)} problems:", *(f"  - {problem}" for problem in problems))))


def load_settings(path: Path | None = None, overrides: Sequence[str | tuple[str, Any]] = ()) -> Loaded:
    """The configuration of a run, and its sources: defaults, then the file, then the overrides in order.

    Args:
        path: a YAML file of sections.
        overrides: ``"section.key=value"`` as typed, or ``(key, value)`` pairs.

    Raises:
        ConfigError: everything that is wrong: unknown keys (with the nearest known one), values of a wrong type or out
            of range, settings that contradict each other. Each with the file or override that it stands in.
    """
    settings = _Settings()
    if path is not None:
        settings.add_file(path)
    for override in overrides:
        if isinstance(override, str):
            settings.add_override(override)
        else:
            settings.add(Source("option"), *override)
    _refuse(settings.problems)
    config = msgspec.convert(settings.tree, Config, strict=True)
    _refuse([f"configuration: {problem}" for problem in _contradictions(config)])
    return Loaded(config, settings.sources)


def load_config(path: Path | None = None, overrides: Sequence[str | tuple[str, Any]] = ()) -> Config:
    """As ``load_settings``, the configuration alone."""
    return load_settings(path, overrides).config


def resolved_yaml(config: Config) -> str:
    """The whole configuration as YAML: what is stored with a run, and can be given back as ``--config``."""
    return yaml_core.dump(msgspec.to_builtins(config))
