"""The writing of a PyTorch archive, a slice of a tensor at a time: a state dict that ``torch.load(weights_only=True)`` reads.

``torch.save`` wants all tensors in memory. The archive is a zip whose records are not compressed and begin at multiples of
64 bytes, so that PyTorch can map them; checksums stand behind each record, as where PyTorch itself writes one.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, cast

from redheart.checkpoint.number_types import NumberType
from redheart.consolidation.forms.torch_archive import row_major
from redheart.consolidation.reading import Reader
from redheart.consolidation.source import StoredTensor
from redheart.consolidation.writers.written_file import WrittenFile

_FOLDER = "archive"
_ALIGNMENT = 64
_HEADER, _ZIP64 = 30, 20
#: A zip field that nobody reads, as PyTorch pads too.
_PADDING = b"FB"
#: Bytes that a record costs beside its numbers, at most: its header, checksum, place in the table of contents, and padding.
RECORD_OVERHEAD = 512


class _Storage:
    def __init__(self, key: str, numbers: NumberType, count: int) -> None:
        self.key, self.numbers, self.count = key, numbers, count


class _Tensor:
    """Pickled as PyTorch pickles a tensor."""

    def __init__(self, storage: _Storage, shape: tuple[int, ...]) -> None:
        self._storage, self._shape = storage, shape

    def __reduce__(self) -> tuple[Any, ...]:
        import torch

        place: tuple[object, ...] = (self._storage, 0, self._shape, row_major(self._shape), False, OrderedDict())
        if self._storage.numbers.storage:
            return torch._utils._rebuild_tensor_v2, place
        return torch._utils._rebuild_tensor_v3, (*place, getattr(torch, self._storage.numbers.torch_name))


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: object) -> tuple[object, ...] | None:
        if not isinstance(value, _Storage):
            return None
        import torch

        name = value.numbers.storage
        kind, count = (
            (getattr(torch, name), value.count) if name else (torch.UntypedStorage, value.count * value.numbers.size)
        )
        return "storage", kind, value.key, "cpu", count


def _storages(tensors: Mapping[str, StoredTensor]) -> dict[str, tuple[_Storage, StoredTensor]]:
    """What each tensor's numbers are stored in; those that are the same in the source share one."""
    found: dict[str, tuple[_Storage, StoredTensor]] = {}
    shared: dict[object, _Storage] = {}
    for name, tensor in tensors.items():
        identity = (tensor.runs, tensor.stored, tensor.dtype, tensor.strides) if tensor.runs else name
        key = str(len(shared))
        storage = shared.setdefault(identity, _Storage(key, tensor.dtype, tensor.count))
        found[name] = (storage, tensor)
    return found


def pickle_of(tensors: Mapping[str, StoredTensor]) -> bytes:
    """The state dict without its numbers."""
    content = io.BytesIO()
    state = {name: _Tensor(storage, tensor.shape) for name, (storage, tensor) in _storages(tensors).items()}
    _Pickler(content, protocol=2).dump(state)
    return content.getvalue()


def size_of(tensors: Mapping[str, StoredTensor]) -> int:
    """Bytes of the archive, at most."""
    storages = {storage.key: tensor.size for storage, tensor in _storages(tensors).values()}
    return sum(storages.values()) + RECORD_OVERHEAD * (len(storages) + 4) + len(pickle_of(tensors))


class _Records:
    """The zip under construction; its parts begin where PyTorch can map them."""

    def __init__(self, archive: zipfile.ZipFile, file: WrittenFile) -> None:
        self._archive, self._file = archive, file

    def open(self, name: str, size: int) -> Any:
        info = zipfile.ZipInfo(f"{_FOLDER}/{name}")
        info.file_size = size
        begin = self._file.size + _HEADER + len(info.filename) + 2 * len(_PADDING) + _ZIP64
        padding = -begin % _ALIGNMENT
        info.extra = _PADDING + padding.to_bytes(2, "little") + b"Z" * padding
        return self._archive.open(info, "w", force_zip64=True)

    def write(self, name: str, content: bytes) -> None:
        with self.open(name, len(content)) as record:
            record.write(content)


class _Unseekable:
    """What zipfile writes to: it has no position, so nothing is written twice and the hash is that of the file."""

    def __init__(self, file: WrittenFile) -> None:
        self._file = file

    def write(self, content: bytes) -> int:
        return self._file.write(content)

    def flush(self) -> None:
        """Nothing is held back."""


def write_archive(file: WrittenFile, reader: Reader, tensors: Mapping[str, StoredTensor]) -> None:
    """Writes ``tensors`` into ``file``.

    Raises:
        StorageError: a tensor can't be read.
        OSError: the file can't be written.
    """
    target = cast("io.BytesIO", _Unseekable(file))
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        records = _Records(archive, file)
        records.write("data.pkl", pickle_of(tensors))
        records.write("byteorder", b"little")
        written = set()
        for storage, tensor in _storages(tensors).values():
            if storage.key in written:
                continue
            written.add(storage.key)
            with records.open(f"data/{storage.key}", tensor.size) as record:
                for content in reader.bytes_of(tensor):
                    record.write(content)
        records.write("version", b"3\n")
