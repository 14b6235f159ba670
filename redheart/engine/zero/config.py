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


def fill_deepspeed_config(
    path: Path, values: Mapping[str, Scalar], sizes: Mapping[str, int] | None = None
) -> DeepSpeedConfig:
    """The JSON at ``path`` with every ``"auto"`` replaced by ours; a literal that contradicts ours is an error.

    Args:
        values: dotted keys, such as ``bf16.enabled``.
        sizes: of what is in flight: they take the place of an ``"auto"`` only, and a literal of the JSON stands.

    Raises:
        ConfigError: naming the file, the key, both values.
    """
    try:
        filled: DeepSpeedConfig = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not a readable DeepSpeed config: {error}") from error
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
