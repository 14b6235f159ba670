"""Exclusive publishing: a file appears whole under its one name, and the first to publish wins.

``rename`` would let the last win, and creating the name before its content is there would let readers see a part;
``link(2)`` of a finished temporary file does neither, on local filesystems and on NFS.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

from redheart.errors import StorageError
from redheart.storage.names import reason_of


def publish_once(path: Path, value: Any) -> bool:
    """Writes ``value`` as JSON to ``path`` unless that name is taken. True: this call did it.

    Raises:
        StorageError: naming ``path``; nothing half written lies under that name.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    content = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "x", encoding="utf-8") as target:
                target.write(content)
                target.flush()
                os.fsync(target.fileno())
            try:
                os.link(temporary, path)
            except FileExistsError:
                # On NFS a repeated request can report this although the first one made the link: the count tells.
                return os.stat(temporary).st_nlink == 2
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
            return True
        finally:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
    except OSError as error:
        raise StorageError(f"{path}: could not publish: {reason_of(error, path)}") from error
