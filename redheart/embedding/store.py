"""The vector store: an append-only file of float32 rows, and an index in JSON Lines that says whose they are.

A batch's rows are durable before its index line is written, so what the index names is there; rows behind the last index
line are the torn end of a killed run, and are cut off before the next are written. float32 and not float16: what was
stored equals what the encoder gave, and a few gigabytes for 150,000 stories are mapped, not loaded.

Nothing is ever removed: vectors of changed or deleted items stay until the folder is deleted, which is always allowed –
it costs embedding them again. Each model has its own pair of files, named by its fingerprint. The lock is an advisory
one on the local file system; on NFS it is as good as the server's lock service.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from redheart.embedding.index import (
    Index,
    IndexBatch,
    IndexHeader,
    append_batch,
    append_header,
    keep_lines,
    read_index,
)
from redheart.errors import StorageError
from redheart.messages import warn

_FORMAT = 1
_DTYPE = np.dtype("<f4")
INDEX_ENDING = ".index.jsonl"
DATA_ENDING = ".float32"


@dataclass(frozen=True, slots=True)
class Record:
    """An item's vectors: ``len(kinds)`` rows from ``row``; ``kinds`` has one digit per segment."""

    row: int
    kinds: str
    checksum: int


@dataclass(frozen=True, slots=True)
class NewRecord:
    """Vectors ``(len(kinds), d_embed)`` to be stored under ``key``."""

    key: str
    kinds: str
    vectors: NDArray[np.float32]


class MappedRows:
    """The rows ``(rows, d_embed)`` of a file of vectors, mapped when they are first read."""

    def __init__(self, path: Path, rows: int, d_embed: int) -> None:
        self.path, self.rows, self.d_embed = path, rows, d_embed
        self._mapped: NDArray[np.float32] | None = None

    def __reduce__(self) -> tuple[type[MappedRows], tuple[Path, int, int]]:
        return MappedRows, (self.path, self.rows, self.d_embed)  # a data worker maps the file again: no content is sent

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the model whose vectors they are."""
        return self.path.name.removesuffix(DATA_ENDING)

    @property
    def vectors(self) -> NDArray[np.float32]:
        """All rows, read-only.

        Raises:
            StorageError: the file is not there or can't be mapped.
        """
        if self._mapped is None:
            if not self.rows:
                return np.empty((0, self.d_embed), np.float32)
            try:
                self._mapped = np.memmap(self.path, _DTYPE, "r", shape=(self.rows, self.d_embed))
            except OSError as error:
                raise StorageError(f"{self.path}: could not map: {error.strerror or error}") from error
        return self._mapped


class VectorStore:
    """The vectors of one model in one folder, open for reading. Opening it changes nothing.

    Attributes:
        records: key -> where its vectors are.
        d_embed, model_name, prompt, fingerprint: whose vectors they are; ``d_embed`` is 0 in a store that does not exist yet.
        index_sha256: of the index as it was read last, "" without one.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        """Opens a store, which may not exist yet.

        Raises:
            StorageError: the index is damaged before its end.
        """
        self.folder = folder
        self.fingerprint = fingerprint
        self.index_path = folder / f"{fingerprint}{INDEX_ENDING}"
        self.data_path = folder / f"{fingerprint}{DATA_ENDING}"
        self.d_embed = 0
        self.model_name = ""
        self.prompt: str | None = None
        self.records: dict[str, Record] = {}
        self.mapped = MappedRows(self.data_path, 0, 0)
        self.index_sha256 = ""
        self._rows = 0
        self._whole_batches = 0
        self._items_ahead = 0
        self._last_batch: tuple[str, ...] = ()
        self.reload()

    def __contains__(self, key: object) -> bool:
        return key in self.records

    def reload(self) -> None:
        """Reads the index again: another process may have added to it."""
        self.records = {}
        self._rows = self._whole_batches = 0
        self.index_sha256 = ""
        self._items_ahead = 0
        self._last_batch = ()
        try:
            index = read_index(self.index_path)
        except StorageError as error:
            raise self._damaged(str(error)) from error
        if index is not None:
            self._take(index)
        self.mapped = MappedRows(self.data_path, self._rows, self.d_embed)

    def _take(self, index: Index) -> None:
        header = index.header
        if header.format != _FORMAT or header.dtype != "float32":
            raise self._damaged(f"found format {header.format!r} {header.dtype!r}; wanted {_FORMAT} 'float32'")
        self.index_sha256 = index.sha256
        self.d_embed, self.model_name, self.prompt = header.d_embed, header.model, header.prompt
        there = self.data_path.stat().st_size // self._row_bytes if self.data_path.exists() else 0
        for number, batch in enumerate(index.batches):
            if batch.end > there:  # whatever follows lies further back still
                self._items_ahead = sum(len(one.items) for one in index.batches[number:])
                break
            row = batch.row
            for key, kinds, checksum in batch.items:
                self.records[key] = Record(row, kinds, checksum)
                row += len(kinds)
            self._rows = row
            self._whole_batches += 1
            self._last_batch = tuple(key for key, _, _ in batch.items)

    def _damaged(self, what: str) -> StorageError:
        return StorageError(f"{self.index_path}: {what}; to embed everything again, delete the folder {self.folder}")

    @property
    def _row_bytes(self) -> int:
        return self.d_embed * _DTYPE.itemsize

    @property
    def vectors(self) -> NDArray[np.float32]:
        """All rows ``(rows, d_embed)``, memory-mapped and read-only."""
        return self.mapped.vectors

    def rows_of(self, key: str) -> NDArray[np.float32]:
        """The vectors ``(segments, d_embed)`` stored under ``key``."""
        record = self.records[key]
        return self.vectors[record.row : record.row + len(record.kinds)]

    def damaged(self, keys: Iterable[str] | None = None) -> list[str]:
        """Those of ``keys`` (None: all) whose vectors are not what was written, by their checksums. Reads them all."""
        return [
            key
            for key in (self.records if keys is None else keys)
            if zlib.crc32(np.ascontiguousarray(self.rows_of(key)).tobytes()) != self.records[key].checksum
        ]


class VectorStoreWriter(VectorStore):
    """A store open for appending, by one process at a time: hold ``redheart.embedding.lock.locked(folder)``."""

    def __init__(
        self, folder: Path, fingerprint: str, *, model_name: str, d_embed: int, prompt: str | None = None
    ) -> None:
        """Opens or makes a store and cuts off what a killed run left half written.

        Raises:
            StorageError: it can't be written or its index is damaged.
        """
        super().__init__(folder, fingerprint)
        if self.d_embed and self.d_embed != d_embed:
            raise self._damaged(f"found vectors of {self.d_embed} numbers; wanted {d_embed}")
        if not self.d_embed:
            append_header(self.index_path, IndexHeader(_FORMAT, "float32", d_embed, model_name, prompt))
            self.reload()
        self._recover()

    def _recover(self) -> None:
        lost = 0
        while self._items_ahead or (self._last_batch and self.damaged(self._last_batch)):
            lost += self._items_ahead or len(self._last_batch)
            self._keep_whole_lines(drop_last=not self._items_ahead)
        size = self.data_path.stat().st_size if self.data_path.exists() else 0
        whole = self._rows * self._row_bytes
        if size > whole:
            self._truncate(whole)
        if lost:
            warn("embedding.lost_vectors", path=self.data_path, count=lost)
        elif size > whole:
            warn("embedding.torn_tail", path=self.data_path, bytes=size - whole)

    def _keep_whole_lines(self, *, drop_last: bool) -> None:
        """Rewrites the index without the lines whose rows are not there (a power cut, an unfinished copy)."""
        keep_lines(self.index_path, self._whole_batches - drop_last)
        self.reload()

    def _truncate(self, size: int) -> None:
        try:
            os.truncate(self.data_path, size)
        except OSError as error:
            raise StorageError(f"{self.data_path}: could not cut off a torn end: {error.strerror or error}") from error

    def append(self, batch: Sequence[NewRecord], *, precision: str) -> None:
        """Stores a batch: all of it counts, or, after an error, none of it.

        Raises:
            StorageError: no space, no permission; what was stored before is intact.
        """
        if not batch:
            return
        content = [np.ascontiguousarray(record.vectors, _DTYPE).tobytes() for record in batch]
        start = self._rows * self._row_bytes
        try:
            # Unbuffered: a buffer would try to write the refused rest once more when the file is closed.
            with open(self.data_path, "ab", buffering=0) as data:
                try:
                    left = memoryview(b"".join(content))
                    while left:
                        left = left[data.write(left) :]
                    os.fsync(data.fileno())
                except OSError:
                    os.ftruncate(data.fileno(), start)
                    raise
        except OSError as error:
            raise StorageError(
                f"{self.data_path}: could not store vectors: {error.strerror or error}; what was stored before is intact"
            ) from error
        items = [
            (record.key, record.kinds, zlib.crc32(written)) for record, written in zip(batch, content, strict=True)
        ]
        try:
            append_batch(self.index_path, IndexBatch(self._rows, items, precision))
        except StorageError:
            self._truncate(start)
            raise
        for key, kinds, checksum in items:
            self.records[key] = Record(self._rows, kinds, checksum)
            self._rows += len(kinds)
        self.mapped = MappedRows(self.data_path, self._rows, self.d_embed)


def stores_in(folder: Path) -> list[VectorStore]:
    """All stores of a vectors folder, the last written first; none if there is no such folder."""
    if not folder.is_dir():
        return []
    indexes = sorted(folder.glob(f"*{INDEX_ENDING}"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    return [VectorStore(folder, path.name.removesuffix(INDEX_ENDING)) for path in indexes]
