"""Append-only JSON Lines. A torn last line – a kill in mid-write – is dropped on reading and cut before appending."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from redheart.errors import StorageError
from redheart.storage.atomic import parse_json, sync_folder, to_json
from redheart.storage.names import reason_of


def _whole_length(content: bytes) -> int:
    """Bytes up to and including the last line end: what comes after was torn."""
    return content.rfind(b"\n") + 1


def _end_of_whole_lines(path: Path, descriptor: int) -> int:
    """The size up to which the log is whole; where a write was torn, less than its size."""
    size = os.fstat(descriptor).st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return size
    return _whole_length(path.read_bytes())


def append_line(path: Path, value: Any) -> None:
    """Appends ``value``, which may be a struct, as one line and makes it durable. For one writer at a time.

    Raises:
        StorageError: naming ``path``; the lines that were there are all that it holds.
    """
    line = f"{to_json(value)}\n".encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        # Without a buffer: what a full disk refused must not be tried again when the file is closed.
        with open(path, "a+b", buffering=0) as log:
            size = _end_of_whole_lines(path, log.fileno())
            log.truncate(size)
            try:
                written = 0
                while written < len(line):
                    written += log.write(line[written:])
                os.fsync(log.fileno())
            except BaseException:  # an interrupt too: half a line may be there
                log.truncate(size)
                raise
        if is_new:
            sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"{path}: could not append: {reason_of(error, path)}") from error


def read_lines(path: Path) -> list[Any]:
    """All whole lines; an absent file has none.

    Raises:
        StorageError: it can't be read, or a line other than a torn last one is not JSON, with its number.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"{path}: could not read: {error.strerror or error}") from error
    values = []
    for number, line in enumerate(content[: _whole_length(content)].splitlines(), start=1):
        try:
            values.append(parse_json(line))
        except ValueError as error:
            raise StorageError(f"{path}: line {number} is damaged: {error}") from error
    return values
