"""A file that is written from its beginning to its end, with the SHA-256 of what was written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType


class WrittenFile:
    """A new file. Without a buffer: what is handed over is the system's, and a full disk is met where it is.

    Args:
        is_hashed: compute the SHA-256 meanwhile.
        on_bytes: told how many bytes are written, each time; may raise to end the writing.
    """

    def __init__(
        self, path: Path, *, is_hashed: bool = True, on_bytes: Callable[[int], None] = lambda count: None
    ) -> None:
        self._path = path
        self._on_bytes = on_bytes
        self._hash = hashlib.sha256() if is_hashed else None
        self._descriptor = -1
        self.size = 0

    def __enter__(self) -> WrittenFile:
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)

    @property
    def sha256(self) -> str:
        """Of what was written so far, in hex; empty where it is not computed."""
        return self._hash.hexdigest() if self._hash is not None else ""

    def write(self, content: bytes | bytearray | memoryview) -> int:
        """Writes all of ``content``."""
        view = memoryview(content)
        done = 0
        while done < len(view):
            done += os.write(self._descriptor, view[done:])
        if self._hash is not None:
            self._hash.update(view)
        self.size += len(view)
        self._on_bytes(len(view))
        return len(view)
