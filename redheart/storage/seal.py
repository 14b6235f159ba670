"""Sealed JSON: a mapping that names a checksum of its own content, so that a flipped bit that leaves it JSON is seen.

Files of before have none, and are read as they are. The checksum is over what was read, not over its bytes or over what a
version knows of it: indented otherwise, or written by a later version with names that this one passes over, it holds too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from redheart.errors import StorageError
from redheart.storage.atomic import fingerprint, parse_json, read_json, to_json, write_json
from redheart.storage.structs import Json

SEAL = "checksum"


def write_sealed(path: Path, value: Any) -> None:
    """Replaces ``path`` by ``value`` – a mapping, or a struct – as JSON with a checksum, whole or not at all."""
    write_json(path, sealed(value))


def sealed(value: Any) -> dict[str, Json]:
    """``value``, a mapping or a struct, as JSON has it, with its checksum."""
    content = {name: one for name, one in parse_json(to_json(value)).items() if name != SEAL}
    return {**content, SEAL: fingerprint(content)}


def read_sealed(path: Path, *, fix: str = "") -> Any:
    """The JSON at ``path``; whether it is a mapping, and of what, is not looked at.

    Raises:
        StorageError: it is missing, not JSON, or not what was written.
    """
    content = read_json(path, fix=fix)
    check_seal(content, path, fix=fix)
    return content


def check_seal(content: Any, where: object, *, fix: str = "") -> None:
    """Whether what was read from ``where`` is what was written there, if it says so.

    Raises:
        StorageError: it is not.
    """
    if not isinstance(content, dict) or SEAL not in content:
        return
    try:
        found = fingerprint({name: one for name, one in content.items() if name != SEAL})
    except ValueError:  # a NaN or an infinity, which nothing of ours is written with
        found = "none"
    if found != content[SEAL]:
        raise StorageError(
            f"{where}: damaged, or changed by hand: {SEAL}: found {content[SEAL]!r}, wanted {found!r}, that of what stands there"
            + (f"; {fix}" if fix else "")
        )
