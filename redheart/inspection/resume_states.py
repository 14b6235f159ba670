"""The resume states of a run as far as they can be told of without the libraries that read their tensors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import msgspec

from redheart.checkpoint.resume import MANIFEST
from redheart.errors import StorageError
from redheart.inspection.integrity import StoredFile, faults_of
from redheart.paths import OutputPaths
from redheart.storage import as_struct
from redheart.storage.seal import read_sealed

#: Types of a safetensors file's floating-point tensors, and what manifests call them.
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
#: A header of more bytes is none.
_MOST_HEADER = 1 << 27


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run was: of a state's cursor what is told to people.

    Attributes:
        epoch: the epoch under way, 1-based; ``batches_done``: its batches that are done.
    """

    run: str
    epoch: int
    batches_done: int
    global_step: int
    engine: str
    world_size: int


class _Manifest(msgspec.Struct, frozen=True):
    cursor: Position
    files: dict[str, StoredFile]


@dataclass(frozen=True)
class StoredState:
    """A state's folder, whole or not.

    Attributes:
        faults: what is wrong with it; empty where it can be gone on from, as far as it was looked at.
    """

    path: Path
    position: Position | None
    files: dict[str, StoredFile]
    faults: tuple[str, ...]

    @property
    def dtype(self) -> str | None:
        """The types of its floating-point tensors; None where they are not in safetensors files."""
        found = set().union(*(_dtypes_in(self.path / name) for name in self.files if name.endswith(".safetensors")))
        return "/".join(sorted(found)) or None


def stored_states(output: Path) -> list[StoredState]:
    """All that lie there, the oldest first; hashes are not computed."""
    folder = OutputPaths(output).resume
    paths = [path for path in folder.glob("state_*") if path.name.removeprefix("state_").isdigit()]
    return [_read(path) for path in sorted(paths, key=lambda path: int(path.name.removeprefix("state_")))]


def _read(path: Path) -> StoredState:
    try:
        manifest = as_struct(read_sealed(path / MANIFEST), _Manifest, str(path / MANIFEST))
    except StorageError as error:
        return StoredState(path, None, {}, (str(error),))
    return StoredState(path, manifest.cursor, manifest.files, tuple(faults_of(path, manifest.files, MANIFEST)))


def gone_on_from(states: list[StoredState], run: str | None) -> StoredState | None:
    """The state that training goes on from: the newest that is valid, where it is this run's."""
    newest = next((one for one in reversed(states) if not one.faults), None)
    return newest if newest and newest.position and newest.position.run == run else None


def _dtypes_in(path: Path) -> set[str]:
    """Of a safetensors file's header; empty where it is none."""
    try:
        with open(path, "rb") as file:
            count = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(count)) if count <= _MOST_HEADER else {}
        return {_DTYPES[one["dtype"]] for one in header.values() if one.get("dtype") in _DTYPES}
    except (OSError, ValueError, AttributeError):
        return set()
