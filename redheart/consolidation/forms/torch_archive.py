"""PyTorch's archives, read without PyTorch: a zip of one pickle, which tells the tensors, and of records that hold their numbers.

``torch.load`` either calls whatever the pickle names, or refuses DeepSpeed's files because they name types of its own. Here
the types that these need have stand-ins, any other is refused, and no tensor's numbers are read until they are asked for.
"""

from __future__ import annotations

import io
import os
import pickle
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from struct import unpack

from redheart.consolidation.forms.stand_ins import NotAdmitted, Storage, StorageType, View, stand_in
from redheart.consolidation.reading import opened, read_exactly
from redheart.consolidation.source import Record, Run, StoredTensor
from redheart.errors import StorageError, UsageError
from redheart.storage.names import reason_of

#: The first bytes of a zip, and of a pickle by itself: what PyTorch wrote before 1.6, or anybody else.
ZIP, PICKLE = b"PK\x03\x04", b"\x80"
#: A pickle of a state dict tells some hundred bytes a tensor; one that is larger holds something else.
_LARGEST_PICKLE = 256 << 20
_LOCAL_HEADER = 30


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        return stand_in(module, name)

    def persistent_load(self, identity: object) -> Storage:
        if not (isinstance(identity, tuple) and len(identity) >= 5 and identity[0] == "storage"):
            raise ValueError(f"found {identity!r:.60} in a storage's place")
        _, kind, key, _, count, *_ = identity
        if not isinstance(kind, StorageType) or not isinstance(key, str) or type(count) is not int:
            raise ValueError(f"found {identity!r:.60} in a storage's place")
        return Storage(key, kind.numbers, count)


@dataclass(frozen=True)
class Archive:
    """What an archive holds: whatever was saved, with a ``View`` for each tensor, and the records that these look at."""

    path: Path
    content: object
    records: Mapping[str, Record]

    def tensor(self, name: str, value: object) -> StoredTensor:
        """Where the numbers of the tensor ``value``, of this name, lie.

        Raises:
            StorageError: it is no tensor, or its record is missing, or too short.
        """
        if not isinstance(value, View):
            raise StorageError(f"{self.path}: {name}: found {in_words(value)}, wanted a tensor")
        record = self.records.get(value.storage.key)
        if record is None:
            raise StorageError(f"{self.path}: damaged: {name}: found no record {value.storage.key!r} with its numbers")
        if len(value.shape) != len(value.strides):
            raise StorageError(f"{self.path}: damaged: {name}: shape {value.shape} and strides {value.strides}")
        size = value.numbers.size
        spanned = _spanned(value.shape, value.strides) * size
        start = value.start * size
        if start + spanned > record.size:
            raise StorageError(
                f"{self.path}: damaged: {name}: found {record.size} bytes in record {record.name!r}, wanted {start + spanned}"
            )
        run = Run(self.path, record.start + start, spanned, record)
        return StoredTensor(
            value.numbers,
            value.numbers,
            value.shape,
            (run,) if spanned else (),
            None if not spanned or _is_row_major(value.shape, value.strides) else value.strides,
        )


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a contiguous tensor, in numbers."""
    strides: list[int] = []
    step = 1
    for length in reversed(shape):
        strides.insert(0, step)
        step *= max(length, 1)
    return tuple(strides)


def _is_row_major(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Along an axis of length 1 any stride will do."""
    wanted = zip(shape, strides, row_major(shape), strict=True)
    return all(length <= 1 or stride == contiguous for length, stride, contiguous in wanted)


def _spanned(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Numbers from the first to the last that a view looks at."""
    if 0 in shape:
        return 0
    return 1 + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))


def in_words(value: object) -> str:
    """What something is, for a message."""
    if isinstance(value, View):
        return f"a tensor of shape {list(value.shape)}"
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return f"a mapping of {len(value)}"
    return f"{type(value).__name__} {value!r:.40}" if isinstance(value, (str, int, float)) else type(value).__name__


def read_archive(path: Path) -> Archive:
    """The archive ``path``; of its tensors only where they lie.

    Raises:
        UsageError: it is a pickle by itself, or holds something of a type that is not admitted.
        StorageError: it is damaged, or can't be read.
    """
    descriptor = opened(path)
    try:
        with open(descriptor, "rb", closefd=False) as file:
            _check_beginning(path, file.read(4))
            contents = _contents(path, file)
        size = os.fstat(descriptor).st_size
        pickles = [name for name in contents if name.endswith("/data.pkl")]
        if len(pickles) != 1 or f"{pickles[0].removesuffix('data.pkl')}constants.pkl" in contents:
            what = "a program (TorchScript)" if pickles else "no data.pkl"
            raise UsageError(f"{path}: found a zip with {what} in it; wanted what torch.save wrote of a state dict")
        folder = pickles[0].removesuffix("data.pkl")
        records = {
            name: _record(path, descriptor, size, info)
            for name, info in contents.items()
            if name == pickles[0] or name.startswith((f"{folder}data/", f"{folder}byteorder"))
        }
        order = records.get(f"{folder}byteorder")
        if order is not None and (found := _content(path, descriptor, order)) != b"little":
            raise StorageError(f"{path}: its numbers are in the byte order {found!r:.20}; wanted b'little'")
        told = _content(path, descriptor, records[pickles[0]])
    finally:
        os.close(descriptor)
    prefix = f"{folder}data/"
    return Archive(
        path,
        _unpickled(path, told),
        {name.removeprefix(prefix): record for name, record in records.items() if name.startswith(prefix)},
    )


def _check_beginning(path: Path, beginning: bytes) -> None:
    if beginning.startswith(PICKLE):
        raise UsageError(
            f"{path}: found a pickle where weights should be; reading one can run any program, so it is not read. Wanted a "
            "PyTorch archive (torch.save since 1.6) or safetensors: where you trust it, torch.load it and torch.save its state dict"
        )
    if not beginning:
        raise StorageError(f"{path}: damaged: it is empty")
    if beginning != ZIP:
        raise StorageError(f"{path}: damaged, or no PyTorch archive: it begins with {beginning!r}, wanted {ZIP!r}")


def _contents(path: Path, file: io.BufferedReader) -> dict[str, zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(file) as archive:
            found = archive.infolist()
    except OSError as error:
        raise StorageError(f"{path}: could not read: {reason_of(error, path)}") from error
    except Exception as error:  # a damaged table of contents fails in as many ways as it has fields
        raise StorageError(
            f"{path}: damaged: the archive's table of contents, at its end, can't be read: {error} (was it cut short?)"
        ) from error
    contents = {info.filename: info for info in found}
    if len(contents) != len(found):
        raise StorageError(f"{path}: damaged: a name occurs twice in the archive's table of contents")
    return contents


def _record(path: Path, descriptor: int, size: int, info: zipfile.ZipInfo) -> Record:
    """Where a record lies: behind a header of its own, whose length only it tells."""
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise UsageError(
            f"{path}: its record {info.filename!r} is compressed or encrypted; wanted what torch.save writes"
        )
    if info.file_size != info.compress_size:
        raise StorageError(
            f"{path}: damaged: its record {info.filename!r} has {info.file_size} bytes, and {info.compress_size} as it is stored"
        )
    header = bytearray(_LOCAL_HEADER)
    read_exactly(path, descriptor, memoryview(header), info.header_offset)
    if header[:4] != ZIP:
        raise StorageError(
            f"{path}: damaged: no record begins at byte {info.header_offset}, wanted {info.filename!r} there"
        )
    start = info.header_offset + _LOCAL_HEADER + sum(unpack("<HH", header[26:30]))
    if start + info.file_size > size:
        raise StorageError(
            f"{path}: damaged: it has {size} bytes, and its record {info.filename!r} ends at byte {start + info.file_size}"
        )
    return Record(path, info.filename, start, info.file_size, info.CRC)


def _content(path: Path, descriptor: int, record: Record) -> bytes:
    if record.size > _LARGEST_PICKLE:
        raise UsageError(
            f"{path}: its {record.name!r} has {record.size / 1e6:.0f} MB; wanted a state dict's, which has few"
        )
    content = bytearray(record.size)
    read_exactly(path, descriptor, memoryview(content), record.start)
    if record.crc not in (0, zlib.crc32(content)):  # 0: torch.serialization.set_crc32_options(False)
        raise StorageError(f"{path}: damaged: the checksum of {record.name!r} is not the one that was written")
    return bytes(content)


def _unpickled(path: Path, told: bytes) -> object:
    try:
        return _Unpickler(io.BytesIO(told)).load()
    except NotAdmitted as error:
        raise UsageError(
            f"{path}: a pickle where weights should be: it names {error}, which reading it would run; wanted tensors by name, "
            "and beside them only types that DeepSpeed's own checkpoints have"
        ) from error
    except Exception as error:  # a damaged pickle fails in as many ways as there are opcodes
        raise StorageError(f"{path}: damaged: its pickle can't be read: {type(error).__name__}: {error}") from error
