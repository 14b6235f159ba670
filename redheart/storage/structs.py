"""JSON as typed structs: what does not fit is an error that names the file and the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from redheart.errors import StorageError
from redheart.storage.atomic import read_json

T = TypeVar("T")


def read_struct(path: Path, kind: type[T]) -> T:
    """The JSON file at ``path`` as a ``kind``; fields that it does not know are left out.

    Raises:
        StorageError: the file is missing, not JSON, or a field is missing or of another type; naming it.
    """
    return as_struct(read_json(path), kind, str(path))


def as_struct(value: Any, kind: type[T], where: str) -> T:
    """What was read from ``where`` as a ``kind``; fields that it does not know are left out.

    Raises:
        StorageError: a field is missing or of another type.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise StorageError(f"{where}: damaged: {error}") from error
