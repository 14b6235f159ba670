"""A model's files in a folder, one for each module, filled by any number of processes, each with the numbers that it holds.

What will lie where follows from the tensors' names and shapes, so every process knows it by itself. The first makes the files
in their full size; then each writes its runs of numbers to their places, in any order; last, the first reads what is there
for the hashes, and writes the index. Nobody holds more than its own share of the model.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from redheart.checkpoint.manifest import FileEntry, file_of
from redheart.checkpoint.tensor_file import Layout, TensorForm, blocks_of, form_of
from redheart.storage import sha256_of, write_json
from redheart.storage.atomic import follow_umask, sync_file
from redheart.tasks import MODULES

if TYPE_CHECKING:
    from torch import Tensor

#: In the form of Hugging Face's sharded models.
INDEX = "model.safetensors.index.json"


class Run(NamedTuple):
    """Numbers of a tensor: ``(count,)``, and where in the flattened whole they begin."""

    name: str
    start: int
    values: Tensor


def module_of(tensor_name: str) -> str:
    """The module that a tensor of the model belongs to, by its name.

    Raises:
        ValueError: the tensor is part of no module, so no checkpoint would hold it.
    """
    for module in MODULES:
        if tensor_name.startswith(f"{module}."):
            return module
    raise ValueError(f"tensor {tensor_name!r} belongs to none of the {len(MODULES)} modules")


class ModuleFiles:
    """The files of a folder.

    Args:
        forms: every tensor of the model.

    Raises:
        ValueError: a module has no tensors, or a tensor is empty: the model was sharded; or one belongs to no module.
    """

    def __init__(self, folder: Path, forms: Mapping[str, TensorForm]) -> None:
        self.folder = folder
        self._module_of = {name: module_of(name) for name in forms}
        by_module: dict[str, dict[str, TensorForm]] = {module: {} for module in MODULES}
        for name, form in forms.items():
            by_module[self._module_of[name]][name] = form
        missing = [module for module, tensors in by_module.items() if not tensors]
        empty = [name for name, form in forms.items() if not form.bytes]  # what ZeRO-3 leaves of a parameter
        if missing or empty:
            what = (
                f"no tensors for {', '.join(missing)}" if missing else f"{len(empty)} empty tensors, {empty[0]} first"
            )
            raise ValueError(f"{what}: a sharded model saved as if it were whole?")
        self.layouts = {module: Layout(tensors) for module, tensors in by_module.items()}

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(layout.bytes for layout in self.layouts.values())

    def path_of(self, module: str) -> Path:
        """A module's file."""
        return self.folder / file_of(module)

    def create(self) -> None:
        """Makes the files, with their headers and room for all numbers, so that a disk that is too small is full now.

        Raises:
            OSError: the disk is full, or the like.
        """
        for module, layout in self.layouts.items():
            # Read as well as written: where a file system has no fallocate(2), the C library reads what it goes over.
            with open(self.path_of(module), "w+b") as file:
                file.write(layout.head)
                file.flush()
                _make_room(file.fileno(), layout.bytes)
            follow_umask(self.path_of(module))

    def write(self, runs: Iterable[Run]) -> None:
        """Puts runs of numbers where they belong, durably.

        Raises:
            ValueError: there is no room for one in its tensor.
            OSError: the disk is full, or the like.
        """
        opened: dict[str, int] = {}
        try:
            for run in runs:
                module = self._module_of[run.name]
                if module not in opened:
                    opened[module] = os.open(self.path_of(module), os.O_WRONLY)
                self._put(opened[module], self.layouts[module], run)
            for descriptor in opened.values():
                os.fsync(descriptor)
        finally:
            for descriptor in opened.values():
                os.close(descriptor)

    def _put(self, descriptor: int, layout: Layout, run: Run) -> None:
        form = layout.forms[run.name]
        place = layout.starts[run.name] + run.start * form.item_bytes
        if not 0 <= run.start * form.item_bytes <= form.bytes - run.values.numel() * form.item_bytes:
            raise ValueError(
                f"{self.folder}: tensor {run.name!r} of shape {list(form.shape)} has no room for {run.values.numel()} numbers from "
                f"{run.start} on"
            )
        for block in blocks_of(run.values, form.dtype):
            while block:
                written = os.pwrite(descriptor, block, place)
                block, place = block[written:], place + written

    def finish(self) -> dict[str, FileEntry]:
        """Writes the index, once all runs are there; the entries of all files, for the manifest.

        Raises:
            OSError, StorageError: the disk is full, or the like.
        """
        entries: dict[str, FileEntry] = {}
        for module, layout in self.layouts.items():
            path = self.path_of(module)
            sync_file(path)
            shapes = {name: list(form.shape) for name, form in layout.forms.items()}
            entries[path.name] = FileEntry(sha256_of(path), path.stat().st_size, shapes)
        return {**entries, INDEX: write_index(self.folder, {name: entry.tensors for name, entry in entries.items()})}


def write_index(folder: Path, files: Mapping[str, Iterable[str]]) -> FileEntry:
    """Writes the index of ``folder`` over ``files``, which lie in it, with the names of their tensors; its entry for the manifest.

    Raises:
        OSError, StorageError: the disk is full, or the like.
    """
    weight_map = {tensor: name for name, tensors in files.items() for tensor in tensors}
    total = sum(_bytes_of_numbers(folder / name) for name in files)
    path = folder / INDEX
    write_json(path, {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))})
    return FileEntry(sha256_of(path), path.stat().st_size, {})


def _bytes_of_numbers(path: Path) -> int:
    """Of a safetensors file, without its head."""
    with open(path, "rb") as file:
        return path.stat().st_size - 8 - int.from_bytes(file.read(8), "little")


def _make_room(descriptor: int, size: int) -> None:
    """Has the disk keep room for ``size`` bytes, where the system can; else the file is made as long and may find it full later.

    Raises:
        OSError: the disk has no room.
    """
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF, errno.ENOSYS):
                raise
    os.ftruncate(descriptor, size)


def dtypes_of(forms: Mapping[str, TensorForm]) -> str:
    """The types of a model's floating-point tensors, as a manifest has them: ``float32``."""
    return "/".join(sorted({form.dtype for form in forms.values() if form.is_floating_point}))


def whole(state: Mapping[str, Tensor]) -> list[Run]:
    """Tensors that are there whole, as runs."""
    return [Run(name, 0, tensor.detach().reshape(-1)) for name, tensor in state.items()]


def forms_of(state: Mapping[str, Tensor]) -> dict[str, TensorForm]:
    """The forms of tensors that are there."""
    return {name: form_of(tensor) for name, tensor in state.items()}
