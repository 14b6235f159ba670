"""A configuration as YAML, with a comment beside each setting that needs one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from redheart.config import yaml_core
from redheart.config.schema import Config, Section

_INDENT = "  "


def commented_yaml(config: Config, comments: Mapping[str, str]) -> str:
    """The whole configuration, as ``--config`` takes it.

    Args:
        comments: by dotted key; each ends up on one line.
    """
    return "".join(f"{line}\n" for line in _section(config, comments, "", ""))


def _section(section: Section, comments: Mapping[str, str], prefix: str, indent: str) -> Iterator[str]:
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        if isinstance(value, Section):
            yield f"{indent}{field.name}:"
            yield from _section(value, comments, f"{prefix}{field.name}.", indent + _INDENT)
        else:
            yield from _setting(field.name, value, comments.get(prefix + field.name, ""), indent)


def _setting(name: str, value: Any, comment: str, indent: str) -> Iterator[str]:
    lines = [f"{indent}{line}" for line in yaml_core.dump({name: value}).removesuffix("\n").split("\n")]
    said = " ".join("".join(letter if letter.isprintable() else " " for letter in comment).split())
    if said and len(lines) == 1:
        yield f"{lines[0]}  # {said}"
        return
    if said:  # a text that is folded over several lines has no place for a comment within
        yield f"{indent}# {said}"
    yield from lines
