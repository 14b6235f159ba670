"""Reading of stored tensors: their bytes in slices, turned into another type where one is asked for.

Files are read by ``pread`` into one buffer and not mapped: a file that is cut short, or a disk that fails, is then an error
that names the file, where a mapped page would end the process; and nothing of the file counts as memory of this process.
"""

from __future__ import annotations

import os
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from redheart.checkpoint.number_types import NumberType
from redheart.consolidation.source import Record, StoredTensor
from redheart.errors import StorageError
from redheart.storage.names import reason_of

#: Bytes that are read at a time: a multiple of every number's size, more than enough for a disk, little for a memory.
SLICE = 8 << 20
#: Files that one reader holds open: a checkpoint of a thousand processes must not run out of descriptors.
_OPEN = 64


def opened(path: Path) -> int:
    """A descriptor of a file that is there to be read.

    Raises:
        StorageError: it can't be.
    """
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError(f"{path}: could not read: {reason_of(error, path)}") from error


def read_exactly(path: Path, descriptor: int, view: memoryview, start: int) -> None:
    """Fills ``view`` from ``start`` on.

    Raises:
        StorageError: the file ends before, or can't be read.
    """
    done = 0
    while done < len(view):
        try:
            count = os.preadv(descriptor, [view[done:]], start + done)
        except OSError as error:
            raise StorageError(f"{path}: could not read: {reason_of(error, path)}") from error
        if count == 0:
            raise StorageError(
                f"{path}: damaged: it ends at byte {start + done}, wanted {len(view) - done} bytes more (was it cut short?)"
            )
        done += count


class Reader:
    """Reads stored tensors, with one buffer and a few open files. For one thread."""

    def __init__(self) -> None:
        self._descriptors: OrderedDict[Path, int] = OrderedDict()
        self._buffer = memoryview(bytearray(SLICE))

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def _descriptor(self, path: Path) -> int:
        if path not in self._descriptors:
            if len(self._descriptors) >= _OPEN:
                os.close(self._descriptors.popitem(last=False)[1])
            self._descriptors[path] = opened(path)
        self._descriptors.move_to_end(path)
        return self._descriptors[path]

    def _slices(self, path: Path, start: int, size: int) -> Iterator[memoryview]:
        descriptor = self._descriptor(path)
        for done in range(0, size, SLICE):
            view = self._buffer[: min(SLICE, size - done)]
            read_exactly(path, descriptor, view, start + done)
            yield view

    def bytes_of(self, tensor: StoredTensor) -> Iterator[memoryview]:
        """The tensor's bytes in row-major order as numbers of its ``dtype``; each slice is there until the next is asked for.

        Raises:
            StorageError: a file can't be read, or ends before the tensor does.
        """
        if tensor.strides is not None:
            yield from self._reordered(tensor)
            return
        for run in tensor.runs:
            for view in self._slices(run.file, run.start, run.size):
                yield _cast(view, tensor.stored, tensor.dtype)

    def _reordered(self, tensor: StoredTensor) -> Iterator[memoryview]:
        """As ``bytes_of`` where the numbers lie in another order: this one tensor is in memory, twice at most."""
        import torch

        assert tensor.strides is not None
        (run,) = tensor.runs
        whole = bytearray(run.size)
        read_exactly(run.file, self._descriptor(run.file), memoryview(whole), run.start)
        flat = torch.frombuffer(whole, dtype=getattr(torch, tensor.stored.torch_name))
        ordered = torch.as_strided(flat, tensor.shape, tensor.strides).contiguous().view(-1).view(torch.uint8)
        content = ordered.numpy().data
        for start in range(0, len(content), SLICE):
            yield _cast(content[start : start + SLICE], tensor.stored, tensor.dtype)

    def check(self, record: Record, should_go_on: Callable[[], None] = lambda: None) -> None:
        """Whether a record is what was written.

        Args:
            should_go_on: called between slices; raises where it should not.

        Raises:
            StorageError: it is not.
        """
        crc = 0
        for view in self._slices(record.file, record.start, record.size):
            should_go_on()
            crc = zlib.crc32(view, crc)
        if crc != record.crc:
            raise StorageError(
                f"{record.file}: damaged: the checksum of its part {record.name!r} is {crc:08x}, and {record.crc:08x} was "
                "written; put the file back from a copy"
            )


def _cast(view: memoryview, stored: NumberType, dtype: NumberType) -> memoryview:
    if stored is dtype or not len(view):
        return view
    import torch

    numbers = torch.frombuffer(view, dtype=getattr(torch, stored.torch_name))
    return numbers.to(getattr(torch, dtype.torch_name)).view(torch.uint8).numpy().data
