"""Append-only JSON Lines. A torn last line – a kill in mid-write – is dropped on reading and cut before appending."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from redheart.errors import StorageError


def _whole_length(content: bytes) -> int:
    """Bytes up to and including the last line end: what comes after was torn."""
    return content.rfind(b"\n") + 1


def append_line(path: Path, value: Any) -> None:
    """Appends ``value`` as one line and makes it durable.

    Raises:
        StorageError: naming ``path``; lines that were there stay valid.
    """
    line = (json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n").encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b") as log:
            size = log.seek(0, os.SEEK_END)
            if size:
                log.seek(size - 1)
                if log.read(1) != b"\n":
                    log.seek(0)
                    size = _whole_length(log.read())
                    log.truncate(size)
            try:
                log.write(line)
                log.flush()
                os.fsync(log.fileno())
            except OSError:
                log.truncate(size)
                raise
    except OSError as error:
        raise StorageError(f"{path}: could not append: {error.strerror or error}") from error


def read_lines(path: Path) -> list[Any]:
    """All whole lines; an absent file has none.

    Raises:
        StorageError: a line other than a torn last one is not JSON, with its number.
    """
    if not path.exists():
        return []
    content = path.read_bytes()
    values = []
    for number, line in enumerate(content[: _whole_length(content)].splitlines(), start=1):
        try:
            values.append(json.loads(line))
        except ValueError as error:
            raise StorageError(f"{path}: line {number} is damaged: {error}") from error
    return values
