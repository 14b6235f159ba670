"""Safetensors files as sources: one, several with an index, and slices of tensors with their places in the metadata."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from redheart.consolidation.forms.torch_archive import read_archive
from redheart.consolidation.number_types import BY_NAME
from redheart.consolidation.reading import opened, read_exactly
from redheart.consolidation.source import Run, StoredTensor
from redheart.errors import StorageError
from redheart.storage import as_struct, read_json

#: Bytes of the header's length, before the header.
LENGTH = 8
METADATA = "__metadata__"


class Entry(msgspec.Struct, frozen=True):
    """A tensor in a header."""

    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


@dataclass(frozen=True)
class SafetensorsFile:
    """Where a file's tensors lie, and its metadata."""

    tensors: Mapping[str, StoredTensor]
    metadata: Mapping[str, str]


def read_safetensors(path: Path) -> SafetensorsFile:
    """The header of ``path``; that it and the file's length are in order is for the library to say.

    Raises:
        StorageError: they are not, or the file can't be read.
    """
    from safetensors import SafetensorError, safe_open

    descriptor = opened(path)  # of no permission, too, the library says that there is no such file
    try:
        with safe_open(str(path), framework="np"):
            length = bytearray(LENGTH)
            read_exactly(path, descriptor, memoryview(length), 0)
            header = bytearray(int.from_bytes(length, "little"))
            read_exactly(path, descriptor, memoryview(header), LENGTH)
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{path}: damaged, or no safetensors file: {error}") from error
    finally:
        os.close(descriptor)
    told = json.loads(header)
    metadata = told.pop(METADATA, {})
    entries = as_struct(told, dict[str, Entry], f"{path}: header")
    begin = LENGTH + len(header)
    return SafetensorsFile({name: _tensor(path, name, entry, begin) for name, entry in entries.items()}, metadata)


def _tensor(path: Path, name: str, entry: Entry, begin: int) -> StoredTensor:
    numbers = BY_NAME.get(entry.dtype)
    if numbers is None:
        raise StorageError(f"{path}: {name}: found numbers of type {entry.dtype!r}, wanted one of {', '.join(BY_NAME)}")
    start, end = entry.data_offsets
    runs = (Run(path, begin + start, end - start),) if end > start else ()
    return StoredTensor(numbers, numbers, tuple(entry.shape), runs)


def is_index(path: Path) -> bool:
    """Whether a file is named as an index of several is."""
    return path.name.endswith((".safetensors.index.json", ".bin.index.json"))


def read_index(path: Path) -> dict[str, StoredTensor]:
    """The tensors of the files that an index names, safetensors or PyTorch's.

    Raises:
        StorageError: it is damaged, names a file that is not there, or a tensor that is not in its file.
    """
    content = read_json(path)
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise StorageError(f"{path}: weight_map: found {type(places).__name__}, wanted a file's name for each tensor")
    files: dict[str, Mapping[str, StoredTensor]] = {}
    for name in sorted(set(places.values())):
        file = path.parent / name
        if Path(name).name != name:
            raise StorageError(f"{path}: names the file {name!r:.60}; wanted a name in the same folder")
        if not file.is_file():
            raise StorageError(f"{path}: names the file {name}, which is not there ({file})")
        files[name] = _tensors_of(file)
    found = {}
    for tensor, name in places.items():
        if tensor not in files[name]:
            raise StorageError(
                f"{path}: says that {tensor} is in {name}, which does not hold it ({path.parent / name})"
            )
        found[tensor] = files[name][tensor]
    if left := sorted({tensor for tensors in files.values() for tensor in tensors} - found.keys()):
        raise StorageError(f"{path}: does not name {left[0]} ({len(left)} tensors in all), which its files hold")
    return found


def _tensors_of(file: Path) -> Mapping[str, StoredTensor]:
    if file.suffix == ".safetensors":
        return read_safetensors(file).tensors
    archive = read_archive(file)
    content = archive.content if isinstance(archive.content, dict) else {}
    return {name: archive.tensor(str(name), value) for name, value in content.items()}


def read_slices(files: list[Path], kind: str = "") -> dict[str, StoredTensor]:
    """Whole tensors of slices in several files, whose metadata has for each under ``places`` where it begins, and the whole's shape.

    Args:
        kind: what stands before a tensor's name in the files where these hold several things of each; the others are left out.

    Raises:
        StorageError: a file has no places, or the slices of a tensor do not make it up.
    """
    slices: dict[str, list[tuple[int, tuple[int, ...], StoredTensor]]] = {}
    for path in files:
        file = read_safetensors(path)
        try:
            places = json.loads(file.metadata["places"])
            for key, tensor in file.tensors.items():
                if key.startswith(kind):
                    name = key.removeprefix(kind)
                    start, *shape = (int(number) for number in places[name])
                    slices.setdefault(name, []).append((start, tuple(shape), tensor))
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"{path}: its metadata does not say where its tensors belong: {error!r}") from error
    return {name: _whole(files[0].parent, name, parts) for name, parts in slices.items()}


def _whole(folder: Path, name: str, parts: list[tuple[int, tuple[int, ...], StoredTensor]]) -> StoredTensor:
    ordered = sorted(parts, key=lambda part: part[0])
    shape, numbers = ordered[0][1], ordered[0][2].stored
    end = 0
    for start, other, tensor in ordered:
        if start != end or other != shape or tensor.stored is not numbers:
            break
        end += tensor.count
    if end != math.prod(shape) or sum(tensor.count for *_, tensor in parts) != end:
        raise StorageError(
            f"{folder}: {name}: the slices that are there do not make up its {math.prod(shape)} numbers of shape {list(shape)}: a "
            "process's file is missing, or of another save"
        )
    return StoredTensor(numbers, numbers, shape, tuple(run for *_, tensor in ordered for run in tensor.runs))
