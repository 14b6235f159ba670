"""Atomic writes: a temporary name in the same folder, fsync, rename, fsync of the folder.

Whatever happens in between – a kill, a full disk – readers see the old file or the new one, never a part.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from redheart.errors import StorageError
from redheart.storage.names import reason_of


@contextlib.contextmanager
def _naming(path: Path, doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: could not {doing}: {reason_of(error, path)}") from error


#: How JSON writes half of a surrogate pair, or both halves of one.
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_READING_UMASK = threading.Lock()
_UMASK = re.compile(rb"^Umask:\s*([0-7]+)$", re.MULTILINE)


def follow_umask(path: Path) -> None:
    """Lets those read ``path`` who may read what this process writes: safetensors makes files for their owner alone."""
    os.chmod(path, 0o666 & ~_umask())


def _umask() -> int:
    """What files of this process lack of rights.

    Linux tells it. Elsewhere it can only be read by setting it, and what another thread makes at that moment – a snapshot is
    written while training goes on – gets the rights that are set then: those of everybody would be the worse ones to give away.
    """
    with contextlib.suppress(OSError), open("/proc/self/status", "rb") as status:
        if found := _UMASK.search(status.read()):
            return int(found[1], 8)
    with _READING_UMASK:
        mask = os.umask(0o077)
        os.umask(mask)
    return mask


def sync_file(path: Path) -> None:
    """Makes the content of ``path`` durable, whoever wrote it."""
    with open(path, "rb") as written:
        os.fsync(written.fileno())


def sync_folder(folder: Path) -> None:
    """Makes a rename inside ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Has ``write`` fill a temporary file beside ``path``, then puts that in ``path``'s place.

    Raises:
        StorageError: naming ``path``; the file that was there is untouched and the temporary one is gone.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    with _naming(path, "write (the previous file, if any, is intact)"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            follow_umask(temporary)
            sync_file(temporary)
            os.replace(temporary, path)
            sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
            raise


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces ``path`` by ``content``, whole or not at all."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    replace_file(path, write)


def write_text(path: Path, content: str) -> None:
    """Replaces ``path`` by ``content`` in UTF-8, whole or not at all."""
    write_bytes(path, content.encode())


def to_json(value: Any, *, indent: int | None = None) -> str:
    """``value``, structs too, as JSON.

    Raises:
        ValueError: it holds a NaN or an infinity. msgspec's own JSON would have null for them.
    """
    return json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    """A struct as the mapping it stands for, and NumPy's floats, which are Python's as well, as these."""
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value, enc_hook=_plain)
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def write_json(path: Path, value: Any, *, indent: int | None = 2) -> None:
    """Replaces ``path`` by ``value`` – structs too – as JSON. NaN and infinities are refused: they are not JSON."""
    write_text(path, to_json(value, indent=indent) + "\n")


def parse_json(content: str | bytes) -> Any:
    """JSON as a file of ours can hold it: what is read here can be written again.

    Raises:
        ValueError: it is not JSON in UTF-8, is nested too deeply, or holds half a surrogate pair.
    """
    text = content if isinstance(content, str) else content.decode("utf-8")
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("lists or mappings in one another, too deep to be read") from None
    if _HALF.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("half a surrogate pair (\\ud800–\\udfff alone), which is no text") from None
    return value


def read_json(path: Path, *, fix: str = "") -> Any:
    """Reads a JSON file of ours.

    Args:
        fix: what to do about a file that is not JSON, for the message.

    Raises:
        StorageError: it is missing or not JSON, with the place.
    """
    try:
        return parse_json(path.read_bytes())
    except ValueError as error:
        raise StorageError(f"{path}: damaged, not valid JSON: {error}" + (f"; {fix}" if fix else "")) from error
    except OSError as error:
        raise StorageError(f"{path}: could not read: {error.strerror or error}") from error


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    with open(path, "rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _sha256(source)


def _sha256(source: Any) -> str:  # Python 3.10 has no file_digest
    digest = hashlib.sha256()
    while block := source.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def fingerprint(value: Any) -> str:
    """A 16-hex-digit identity of a JSON-able value: equal values, equal fingerprint, on every machine."""
    canonical = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain
    )
    return hashlib.blake2b(canonical.encode(), digest_size=8).hexdigest()
