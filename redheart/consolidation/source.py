"""Sources of a conversion: where in which files the numbers of each tensor lie. Every form of a checkpoint is told in these terms.

A tensor of any form – cut over ranks, padded, flattened with others – is a list of runs of bytes, so whoever writes it
needs to know nothing of where it came from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from redheart.checkpoint import Manifest
from redheart.checkpoint.number_types import NumberType
from redheart.errors import StorageError


@dataclass(frozen=True)
class Record:
    """A stretch of a file that has a checksum of its own: in a PyTorch archive, a CRC-32 in the table of contents.

    Attributes:
        crc: 0 where none was computed (``torch.serialization.set_crc32_options(False)``).
    """

    file: Path
    name: str
    start: int
    size: int
    crc: int


@dataclass(frozen=True)
class Run:
    """A run of bytes in a file.

    Attributes:
        record: what it is a part of, where that can be checked.
    """

    file: Path
    start: int
    size: int
    record: Record | None = None


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as it lies in files.

    Attributes:
        stored: the type of the numbers in the files.
        dtype: the type that they are read as.
        runs: their bytes, one run after the other, are the numbers in row-major order.
        strides: in numbers, where they are not in that order: the one run spans them all.
    """

    stored: NumberType
    dtype: NumberType
    shape: tuple[int, ...]
    runs: tuple[Run, ...]
    strides: tuple[int, ...] | None = None

    @property
    def count(self) -> int:
        """Its numbers."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Bytes as they are read."""
        return self.count * self.dtype.size

    def read_as(self, dtype: NumberType | None) -> StoredTensor:
        """The same with numbers of another type, if these are floating-point numbers at all; None: as they are."""
        return self if dtype is None or not self.stored.is_floating else replace(self, dtype=dtype)


def cut(runs: Iterable[Run], start: int, size: int) -> tuple[Run, ...]:
    """The bytes from ``start`` on of what ``runs`` are one after the other.

    Raises:
        ValueError: there are not so many.
    """
    found = []
    for run in runs:
        taken = min(size, run.size - start)
        if taken > 0:
            found.append(Run(run.file, run.start + start, taken, run.record))
            size -= taken
        start = max(0, start - run.size)
        if size == 0:
            break
    if size:
        raise ValueError(f"{size} bytes are missing")
    return tuple(found)


@dataclass(frozen=True)
class Source:
    """A checkpoint that can be converted.

    Attributes:
        path: as it was named.
        what: in words.
        tensors: by name, in the order in which the checkpoint has them.
        facts: what is known of the model besides.
        hashes: SHA-256 by file, where the checkpoint says them.
    """

    path: Path
    what: str
    tensors: Mapping[str, StoredTensor]
    facts: Manifest | None = None
    hashes: Mapping[Path, str] | None = None

    @property
    def files(self) -> list[Path]:
        """Those that its tensors lie in."""
        return sorted({run.file for tensor in self.tensors.values() for run in tensor.runs})

    @property
    def records(self) -> list[Record]:
        """What of them can be checked, in the order in which it lies on the disk."""
        found = {run.record for tensor in self.tensors.values() for run in tensor.runs}
        checked = [record for record in found if record is not None and record.crc]
        return sorted(checked, key=lambda record: (record.file, record.start))

    @property
    def size(self) -> int:
        """Bytes of its tensors as they are read."""
        return sum(tensor.size for tensor in self.tensors.values())


def without_wrappers(path: Path, tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Names as the model itself has them: without what DistributedDataParallel and ``torch.compile`` put before all of them.

    Raises:
        StorageError: there are no tensors, or placeholders only.
    """
    if not tensors:
        raise StorageError(f"{path}: holds no tensors")
    found = dict(tensors)
    for prefix in ("module.", "_orig_mod.", "module."):  # either may be around the other
        if all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    placeholders = [name for name, tensor in found.items() if tensor.count == 0]
    if placeholders and len(placeholders) > len(found) // 2:
        raise StorageError(
            f"{path}: {len(placeholders)} of its {len(found)} tensors are empty, {placeholders[0]} for one: they stand for what "
            "ZeRO-3 keeps elsewhere; name the folder of DeepSpeed's checkpoint, the one with the file 'latest'"
        )
    return found
