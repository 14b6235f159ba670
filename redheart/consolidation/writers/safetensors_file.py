"""The writing of a safetensors file, a slice of a tensor at a time: the bytes that ``safetensors.torch.save_file`` would write.

The library wants all tensors in memory. Its layout is simple and fixed: the header's length, the header, and the numbers,
largest types first and then by name.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from redheart.consolidation.forms.safetensors_files import LENGTH, METADATA, Entry
from redheart.consolidation.number_types import NUMBER_TYPES
from redheart.consolidation.reading import Reader
from redheart.consolidation.source import StoredTensor
from redheart.consolidation.writers.written_file import WrittenFile

_ALIGNMENT = 8
_RANK = {one.name: rank for rank, one in enumerate(NUMBER_TYPES)}


def _ordered(tensors: Mapping[str, StoredTensor]) -> list[str]:
    return sorted(tensors, key=lambda name: (-_RANK[tensors[name].dtype.name], name.encode()))


def header_of(tensors: Mapping[str, StoredTensor], metadata: Mapping[str, str]) -> bytes:
    """What stands before the numbers."""
    entries: dict[str, dict[str, str] | Entry] = {METADATA: dict(metadata)}
    start = 0
    for name in _ordered(tensors):
        tensor = tensors[name]
        entries[name] = Entry(tensor.dtype.name, list(tensor.shape), (start, start + tensor.size))
        start += tensor.size
    header = msgspec.json.encode(entries)
    header += b" " * (-len(header) % _ALIGNMENT)
    return len(header).to_bytes(LENGTH, "little") + header


def write_safetensors(
    file: WrittenFile, reader: Reader, tensors: Mapping[str, StoredTensor], metadata: Mapping[str, str]
) -> None:
    """Writes ``tensors`` into ``file``.

    Raises:
        StorageError: a tensor can't be read.
        OSError: the file can't be written.
    """
    file.write(header_of(tensors, metadata))
    for name in _ordered(tensors):
        for content in reader.bytes_of(tensors[name]):
            file.write(content)
