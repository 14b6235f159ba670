"""A checkpoint of an epoch: one safetensors file a module, an index, and a manifest written last.

The index has the Hugging Face sharded form, so other tools read the folder too. The manifest holds a hash of every
file; a folder without a valid manifest does not exist as far as readers are concerned. A folder is written under a
temporary name and renamed; one that is there already is not replaced but superseded by the next generation.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from redheart.checkpoint.manifest import FORMAT, FileEntry, Manifest, load_manifest, write_manifest
from redheart.errors import StorageError
from redheart.paths import OutputPaths
from redheart.storage import replace_folder, sha256_of, write_json
from redheart.storage.atomic import follow_umask, sync_file, sync_folder
from redheart.storage.names import reason_of
from redheart.tasks import MODULES

if TYPE_CHECKING:
    from torch import Tensor

START = "start"
#: What the start counts as: the model before the first epoch.
START_EPOCH = 0
INDEX = "model.safetensors.index.json"
_FOLDER = re.compile(r"epoch_(\d{4,})(?:\.g(\d+))?")


@dataclass(frozen=True)
class EpochCheckpoint:
    """A valid checkpoint: its epoch (1-based; 0 is the start), its folder and what its manifest says."""

    epoch: int
    path: Path
    manifest: Manifest


def epochs_folder(output: Path) -> Path:
    """Where the epochs of a run lie."""
    return OutputPaths(output).checkpoints


def module_of(tensor_name: str) -> str:
    """The module that a tensor of the model belongs to, by its name.

    Raises:
        ValueError: the tensor is part of no module, so no checkpoint would hold it.
    """
    for module in MODULES:
        if tensor_name.startswith(f"{module}."):
            return module
    raise ValueError(f"tensor {tensor_name!r} belongs to none of the {len(MODULES)} modules")


def _entry(file: Path, tensors: Mapping[str, Tensor]) -> FileEntry:
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    return FileEntry(sha256_of(file), file.stat().st_size, shapes)


def _write_folder(folder: Path, state: Mapping[str, Tensor], manifest: Manifest) -> Manifest:
    from safetensors.torch import save_file

    by_module: dict[str, dict[str, Tensor]] = {module: {} for module in MODULES}
    for name, tensor in state.items():
        by_module[module_of(name)][name] = tensor.detach().cpu().contiguous()
    missing = [module for module, tensors in by_module.items() if not tensors]
    empty = [name for name, tensor in state.items() if tensor.numel() == 0]  # what ZeRO-3 leaves of a parameter
    if missing or empty:
        what = f"no tensors for {', '.join(missing)}" if missing else f"{len(empty)} empty tensors, {empty[0]} first"
        raise ValueError(f"{what}: a sharded model saved as if it were whole?")
    files: dict[str, FileEntry] = {}
    weight_map: dict[str, str] = {}
    total_bytes = 0
    for module, tensors in by_module.items():
        file_name = f"{module}.safetensors"
        save_file(tensors, str(folder / file_name), metadata={"format": "pt"})
        follow_umask(folder / file_name)
        sync_file(folder / file_name)
        weight_map |= dict.fromkeys(tensors, file_name)
        total_bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        files[file_name] = _entry(folder / file_name, tensors)
    index = {"metadata": {"total_size": total_bytes}, "weight_map": dict(sorted(weight_map.items()))}
    write_json(folder / INDEX, index)
    files[INDEX] = _entry(folder / INDEX, {})
    dtypes = sorted(
        {str(tensor.dtype).removeprefix("torch.") for tensor in state.values() if tensor.is_floating_point()}
    )
    whole = msgspec.structs.replace(manifest, format=FORMAT, dtype="/".join(dtypes), files=files)
    write_manifest(folder, whole)
    return whole


def _publish(folder: Path, name: str, target: Path, state: Mapping[str, Tensor], manifest: Manifest) -> Manifest:
    """Writes a whole checkpoint under a temporary name and puts it in ``target``'s place. Returns its manifest."""
    from safetensors import SafetensorError  # a full disk comes back as this, without an errno

    temporary = folder / f".{name}.writing"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if temporary.exists():  # what a killed run left
            shutil.rmtree(temporary)
        temporary.mkdir()
        whole = _write_folder(temporary, state, manifest)
        sync_folder(temporary)
        replace_folder(temporary, target)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, (OSError, SafetensorError, StorageError)):
            reason = reason_of(error, target) if isinstance(error, OSError) else error
            raise StorageError(
                f"{target}: checkpoint not written: {reason}; what was there before is intact"
            ) from error
        raise
    return whole


def _generations(folder: Path, epoch: int) -> dict[int, Path]:
    """The folders of an epoch by generation, whole or not."""
    found = {path: _FOLDER.fullmatch(path.name) for path in (folder.iterdir() if folder.is_dir() else ())}
    return {int(match[2] or 1): path for path, match in found.items() if match and int(match[1]) == epoch}


def save_epoch(output: Path, *, epoch: int, state: Mapping[str, Tensor], manifest: Manifest) -> EpochCheckpoint:
    """Writes the checkpoint of ``epoch`` under ``output/checkpoints``; one that was there goes when the new one is in place.

    Args:
        state: the whole model's tensors by their full names; every module must have some.
        manifest: its epoch and what it says of files are filled in here.

    Raises:
        StorageError: nothing was published; earlier checkpoints are intact.
        ValueError: a module has no tensors, or a tensor is empty: the model was sharded.
    """
    folder, name = epochs_folder(output), f"epoch_{epoch:04d}"
    earlier = _generations(folder, epoch)
    path = folder / (f"{name}.g{max(earlier) + 1}" if earlier else name)
    whole = _publish(folder, name, path, state, msgspec.structs.replace(manifest, epoch=epoch))
    for superseded in earlier.values():
        shutil.rmtree(superseded, ignore_errors=True)
    return EpochCheckpoint(epoch, path, whole)


def save_model(folder: Path, name: str, state: Mapping[str, Tensor], manifest: Manifest) -> Path:
    """Writes a model that is no epoch (an average, a crossover) in the same form as ``folder/name``, replacing it.

    The name is exchanged with the old one's in one step, so it needs no pointer: see ``replace_folder``.

    Raises:
        StorageError: ``folder/name`` is as it was.
        ValueError: as ``save_epoch``.
    """
    _publish(folder, name, folder / name, state, manifest)
    return folder / name


def save_start(output: Path, *, state: Mapping[str, Tensor], manifest: Manifest) -> Path:
    """Writes the model as it was before its first step in the form of an epoch, as ``output/checkpoints/start``.

    Raises:
        StorageError, ValueError: as ``save_model``.
    """
    return save_model(epochs_folder(output), START, state, msgspec.structs.replace(manifest, epoch=START_EPOCH))


def find_start(output: Path) -> EpochCheckpoint | None:
    """The model before its first step; None where none was kept. ``list_epochs`` does not list it.

    Raises:
        StorageError: it is there and damaged.
    """
    path = epochs_folder(output) / START
    if not path.exists():
        return None
    try:
        return EpochCheckpoint(START_EPOCH, path, read_manifest(path, verify=False))
    except StorageError as error:
        raise StorageError(f"{error}; put it back from a copy, or remove {path} to go without it") from error


def read_manifest(path: Path, *, verify: bool = True) -> Manifest:
    """The manifest of the checkpoint in folder ``path``.

    Args:
        verify: compare every file's size and SHA-256 with the manifest.

    Raises:
        StorageError: it is missing, damaged, or of another format; the message names the file.
    """
    manifest = load_manifest(path)
    for name, expected in manifest.files.items():
        file = path / name
        if not file.is_file() or file.stat().st_size != expected.bytes:
            found = f"{file.stat().st_size} bytes" if file.is_file() else "nothing"
            raise StorageError(f"{file}: found {found}, the manifest says {expected.bytes} bytes")
        if verify and sha256_of(file) != expected.sha256:
            raise StorageError(f"{file}: its SHA-256 is not the manifest's: the file is damaged")
    return manifest


def list_epochs(output: Path, *, verify: bool = False) -> list[EpochCheckpoint]:
    """The valid checkpoints under ``output/checkpoints``, by epoch; the newest valid generation of each."""
    found: dict[int, tuple[int, EpochCheckpoint]] = {}
    folder = epochs_folder(output)
    for path in folder.iterdir() if folder.is_dir() else ():
        if not (match := _FOLDER.fullmatch(path.name)):
            continue
        epoch, generation = int(match[1]), int(match[2] or 1)
        try:
            manifest = read_manifest(path, verify=verify)
        except StorageError:
            continue  # not listed is what invalid means; read_manifest says why to whoever asks for it by name
        if epoch not in found or generation > found[epoch][0]:
            found[epoch] = (generation, EpochCheckpoint(epoch, path, manifest))
    return [found[epoch][1] for epoch in sorted(found)]


def load_modules(path: Path, modules: Iterable[str] | None = None) -> dict[str, Tensor]:
    """Tensors of a checkpoint by their full names; of some modules only, if named.

    They lie in the mapped files, so reading them costs no memory: copy them into a model that is there, as
    ``load_state_dict`` does unless ``assign``, and compute with nothing else (see ``redheart.model.exported``).

    Raises:
        StorageError: a file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    state: dict[str, Tensor] = {}
    for module in MODULES if modules is None else modules:
        file = path / f"{module}.safetensors"
        try:
            state |= load_file(str(file))
        except (OSError, SafetensorError) as error:
            raise StorageError(f"{file}: can't be read: {error}") from error
    return state
