"""The comparison of files with what a manifest says of them: sizes, which is cheap, or hashes too."""

from __future__ import annotations

import errno
import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

#: Bytes that are read at a time.
_BLOCK = 1 << 22
#: The part of a PyTorch archive that says what the others are.
PICKLE = "/data.pkl"


_CLOSED = f"can't be read: {os.strerror(errno.EACCES)}"


def is_closed(faults: Sequence[str]) -> bool:
    """Whether all that is wrong is that this user may not read the files."""
    return bool(faults) and all(_CLOSED in fault for fault in faults)


class Entry(Protocol):
    """What a manifest says of a file; 0 bytes where it does not say how many."""

    @property
    def sha256(self) -> str: ...
    @property
    def bytes(self) -> int: ...


class StoredFile(msgspec.Struct, frozen=True):
    """One file of a resume state; ``bytes`` was not kept in earlier versions."""

    sha256: str
    bytes: int = 0


def faults_of(
    folder: Path,
    files: Mapping[str, Entry],
    manifest: str | None = None,
    *,
    on_bytes: Callable[[int], None] | None = None,
) -> Iterator[str]:
    """What is wrong with the files of a folder, naming each.

    Args:
        manifest: the name of the folder's manifest, where files that it does not list are a fault.
        on_bytes: told of each block that was read; None: only sizes are looked at.
    """
    for name, entry in files.items():
        try:
            fault = _fault_of(folder / name, entry, on_bytes)
        except OSError as error:
            fault = f"can't be read: {error.strerror or error}"
        if fault is not None:
            yield f"{folder / name}: {fault}"
    if manifest is not None:
        listed = {*files, manifest}
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            if str(file.relative_to(folder)) not in listed:
                yield f"{file}: was not written by the run that wrote {folder.name}"


def _fault_of(file: Path, entry: Entry, on_bytes: Callable[[int], None] | None) -> str | None:
    size = file.stat().st_size if file.is_file() else None
    if size is None or (entry.bytes and size != entry.bytes):
        found = "nothing" if size is None else f"{size} bytes"
        return f"found {found}, the manifest says {f'{entry.bytes} bytes' if entry.bytes else 'a file'}"
    if on_bytes is not None and _sha256(file, on_bytes) != entry.sha256:
        return "its SHA-256 is not the manifest's: the file is damaged"
    return None


def _sha256(file: Path, on_bytes: Callable[[int], None]) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as source:
        while block := source.read(_BLOCK):
            digest.update(block)
            on_bytes(len(block))
    return digest.hexdigest()


def faults_of_archive(path: Path, *, on_bytes: Callable[[int], None] | None = None) -> Iterator[str]:
    """What is wrong with a PyTorch file, an archive that keeps a checksum (CRC-32) of each part; ``on_bytes`` as above.

    Where only what is cheap is looked at, that is the list of its parts, and the small one that says what the others are.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for part in archive.infolist():
                if on_bytes is None and not part.filename.endswith(PICKLE):
                    continue
                with archive.open(part) as source:
                    while block := source.read(_BLOCK):
                        if on_bytes is not None:
                            on_bytes(len(block))
    except OSError as error:
        yield f"{path}: can't be read: {error.strerror or error}"
    except Exception as error:  # a damaged archive fails in as many ways as there are readers below
        yield f"{path}: damaged: {error}"
