"""The index of a vector store on disk: JSON Lines, a header and then one line per batch, with one reader and one writer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from redheart.errors import StorageError
from redheart.storage import append_line, write_bytes


class IndexHeader(msgspec.Struct, frozen=True, omit_defaults=True):
    """The first line: whose vectors the store holds, and how; ``prompt``: before which the encoder read every text."""

    format: int
    dtype: str
    d_embed: int
    model: str
    prompt: str | None = None


class IndexBatch(msgspec.Struct, frozen=True):
    """A line: vectors that were stored together.

    Attributes:
        row: where the first item's vectors start; the others follow without a gap.
        precision: what they were computed in, ``as given`` where a file brought them.
        items: of each item its key, its segments' kinds, a digit each, and the CRC-32 of its vectors' bytes.
    """

    row: int
    items: list[tuple[str, str, int]]
    precision: str = ""

    @property
    def end(self) -> int:
        """The row behind the last item's vectors."""
        return self.row + sum(len(kinds) for _, kinds, _ in self.items)


T = TypeVar("T")
_HEADER = msgspec.json.Decoder(IndexHeader)
_BATCH = msgspec.json.Decoder(IndexBatch)


@dataclass(frozen=True, slots=True)
class Index:
    """An index as it was read: ``sha256`` is of exactly the bytes that gave the rest."""

    header: IndexHeader
    batches: list[IndexBatch]
    sha256: str


def read_index(path: Path) -> Index | None:
    """What the index names; None where there is none. A torn last line does not count.

    Raises:
        StorageError: it can't be read, or a line before its end is damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{path}: could not read: {error.strerror or error}") from error
    lines = _whole_lines(content)
    if not lines:
        return None
    header = _decoded(_HEADER, lines[0], 1)
    batches = [_decoded(_BATCH, line, number) for number, line in enumerate(lines[1:], start=2)]
    return Index(header, batches, hashlib.sha256(content).hexdigest())


def _decoded(decoder: msgspec.json.Decoder[T], line: bytes, number: int) -> T:
    try:
        return decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StorageError(f"line {number} is damaged or lacks the expected fields: {error}") from error


def _whole_lines(content: bytes) -> list[bytes]:
    return content[: content.rfind(b"\n") + 1].splitlines()


def keep_lines(path: Path, batches: int) -> None:
    """Rewrites the index with its header and its first ``batches`` lines, whole or not at all."""
    kept = _whole_lines(path.read_bytes())[: 1 + batches]
    write_bytes(path, b"".join(line + b"\n" for line in kept))


def append_header(path: Path, header: IndexHeader) -> None:
    """Begins an index."""
    append_line(path, msgspec.to_builtins(header))


def append_batch(path: Path, batch: IndexBatch) -> None:
    """Adds a line and makes it durable.

    Raises:
        StorageError: the lines that were there are all that it holds.
    """
    append_line(path, {"row": batch.row, "precision": batch.precision, "items": batch.items})
