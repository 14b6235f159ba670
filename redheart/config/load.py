"""One YAML file, then dotted overrides (``training.epochs=3``), checked as a whole before anything starts."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from redheart.config.schema import Config
from redheart.errors import ConfigError


def _known(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Every dotted key, and whether it is a section."""
    for field in msgspec.structs.fields(struct):
        key = f"{prefix}{field.name}"
        is_section = isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
        yield key, is_section
        if is_section:
            yield from _known(field.type, f"{key}.")


KNOWN_KEYS = dict(_known(Config))


def _nearest(key: str) -> str:
    close = difflib.get_close_matches(key, KNOWN_KEYS, n=1, cutoff=0.5)
    if not close:  # a key typed without its section, or under the wrong one
        leaf = key.rpartition(".")[2]
        leaves = {known.rpartition(".")[2]: known for known in KNOWN_KEYS}
        close = [leaves[match] for match in difflib.get_close_matches(leaf, leaves, n=1, cutoff=0.5)]
    return (
        f"; did you mean '{close[0]}'?"
        if close
        else f"; sections are {', '.join(k for k, s in KNOWN_KEYS.items() if s)}"
    )


def _flatten(value: Mapping[str, Any], where: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        key = f"{prefix}{name}"
        if key not in KNOWN_KEYS:
            raise ConfigError(f"{where}: unknown key '{key}'{_nearest(key)}")
        if not KNOWN_KEYS[key]:
            yield key, inner
        elif isinstance(inner, Mapping):
            yield from _flatten(inner, where, f"{key}.")
        else:
            raise ConfigError(f"{where}: '{key}' is a section: found {inner!r}, wanted a mapping of its settings")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: found {type(content).__name__}, wanted a mapping of sections")
    return content


def _parse_override(override: str) -> tuple[str, Any]:
    key, equals, raw = override.partition("=")
    if not equals:
        raise ConfigError(f"override '{override}': wanted KEY=VALUE, such as training.epochs=3")
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise ConfigError(f"override '{override}': the value is not valid YAML: {error}") from error
    if isinstance(value, str):  # YAML 1.1 reads 1e-4 as a string
        try:
            number = float(value)
        except ValueError:
            pass
        else:
            value = number
    return key, value


def _check(config: Config) -> None:
    """What types can't say. All problems at once."""
    problems = []
    sweep, training, spot = config.sweep, config.training, config.sweet_spot
    if sweep.lr_min >= sweep.lr_max:
        problems.append(f"sweep.lr_min {sweep.lr_min:g} is not below sweep.lr_max {sweep.lr_max:g}")
    if training.micro_batch_size and training.global_batch_size % training.micro_batch_size:
        problems.append(
            f"training.global_batch_size {training.global_batch_size} is not a multiple of "
            f"training.micro_batch_size {training.micro_batch_size}"
        )
    weights = spot.loss_weight + spot.task_weight + spot.stability_weight + spot.gradient_weight
    if abs(weights - 1.0) > 1e-6:
        problems.append(f"sweet_spot weights sum to {weights:g}, wanted 1")
    for key in KNOWN_KEYS:
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        if isinstance(value, float) and not math.isfinite(value):
            problems.append(f"{key}: found {value}, wanted a finite number")
    if problems:
        raise ConfigError("configuration: " + "; ".join(problems))


def load_config(path: Path | None = None, overrides: Sequence[str | tuple[str, Any]] = ()) -> Config:
    """The configuration of a run: defaults, then the file, then the overrides in order.

    Args:
        path: a YAML file of sections.
        overrides: ``"section.key=value"`` as typed, or ``(key, value)`` pairs.

    Raises:
        ConfigError: an unknown key (with the nearest known one), a wrong type, a value out of range.
    """
    tree: dict[str, Any] = {}
    settings: list[tuple[str, str, Any]] = []
    if path is not None:
        settings += [(str(path), key, value) for key, value in _flatten(_read_yaml(path), str(path))]
    for override in overrides:
        key, value = _parse_override(override) if isinstance(override, str) else override
        if KNOWN_KEYS.get(key, True):
            reason = "is a section, not a setting" if key in KNOWN_KEYS else "is unknown"
            raise ConfigError(f"override: key '{key}' {reason}{'' if key in KNOWN_KEYS else _nearest(key)}")
        settings.append(("override", key, value))
    for where, key, value in settings:
        try:  # one at a time, so that the message can say where the value came from
            msgspec.convert(_nest({key: value}), Config, strict=True)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{where}: '{key}': found {value!r}: {str(error).partition(' - at ')[0]}") from error
        _insert(tree, key, value)
    config = msgspec.convert(tree, Config, strict=True)
    _check(config)
    return config


def _insert(tree: dict[str, Any], key: str, value: Any) -> None:
    *sections, leaf = key.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
    tree[leaf] = value


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        _insert(tree, key, value)
    return tree


def resolved_yaml(config: Config) -> str:
    """The whole configuration as YAML: what is stored with a run, and can be given back as ``--config``."""
    return yaml.safe_dump(msgspec.to_builtins(config), sort_keys=False, allow_unicode=True)
