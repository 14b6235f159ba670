"""A configuration as YAML, with a comment beside each setting that needs one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from redheart.config import yaml_core
from redheart.config.schema import Config, Section

_INDENT = "  "


def commented_yaml(config: Config, comments: Mapping[str, str], *, ascii_only: bool = False) -> str:
    """The whole configuration, as ``--config`` takes it.

    Args:
        comments: by dotted key; each ends up on one line.
        ascii_only: other letters are written by their numbers, which YAML reads as the letters.
    """
    return "".join(f"{line}\n" for line in _section(config, comments, "", "", ascii_only))


def _section(
    section: Section, comments: Mapping[str, str], prefix: str, indent: str, ascii_only: bool
) -> Iterator[str]:
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        if isinstance(value, Section):
            yield f"{indent}{field.name}:"
            yield from _section(value, comments, f"{prefix}{field.name}.", indent + _INDENT, ascii_only)
        else:
            yield from _setting(field.name, value, comments.get(prefix + field.name, ""), indent, ascii_only)


def _setting(name: str, value: Any, comment: str, indent: str, ascii_only: bool) -> Iterator[str]:
    dumped = yaml_core.dump({name: value}, ascii_only=ascii_only).removesuffix("\n")
    lines = [f"{indent}{line}" for line in dumped.split("\n")]
    said = " ".join("".join(letter if letter.isprintable() else " " for letter in comment).split())
    if ascii_only:
        said = said.encode("ascii", "backslashreplace").decode()
    if said and len(lines) == 1:
        yield f"{lines[0]}  # {said}"
        return
    if said:  # a text that is folded over several lines has no place for a comment within
        yield f"{indent}# {said}"
    yield from lines
