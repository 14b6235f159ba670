"""A checkpoint of an epoch: one safetensors file a module, an index, and a manifest written last.

The index has the Hugging Face sharded form, so other tools read the folder too. The manifest holds a hash of every
file; a folder without a valid manifest does not exist as far as readers are concerned. A folder is written under a
temporary name and renamed; one that is there already is not replaced but superseded by the next generation.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redheart.errors import StorageError
from redheart.storage import read_json, sha256_of, write_json
from redheart.storage.atomic import sync_folder
from redheart.tasks import MODULES

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
_FOLDER = re.compile(r"epoch_(\d{4,})(?:\.g(\d+))?")


@dataclass(frozen=True)
class EpochCheckpoint:
    """A valid checkpoint: its epoch (1-based), its folder and what its manifest says."""

    epoch: int
    path: Path
    manifest: dict[str, Any]


def epochs_folder(output: Path) -> Path:
    """Where the epochs of a run lie."""
    return output / "checkpoints"


def module_of(tensor_name: str) -> str:
    """The module that a tensor of the model belongs to, by its name.

    Raises:
        ValueError: the tensor is part of no module, so no checkpoint would hold it.
    """
    for module in MODULES:
        if tensor_name.startswith(f"{module}."):
            return module
    raise ValueError(f"tensor {tensor_name!r} belongs to none of the {len(MODULES)} modules")


def _write_folder(folder: Path, state: Mapping[str, Tensor], manifest: Mapping[str, Any]) -> dict[str, Any]:
    from safetensors.torch import save_file

    by_module: dict[str, dict[str, Tensor]] = {module: {} for module in MODULES}
    for name, tensor in state.items():
        by_module[module_of(name)][name] = tensor.detach().cpu().contiguous()
    empty = [module for module, tensors in by_module.items() if not tensors]
    if empty:
        raise ValueError(f"no tensors for {', '.join(empty)}: a sharded model saved as if it were whole?")
    files: dict[str, Any] = {}
    weight_map: dict[str, str] = {}
    total_bytes = 0
    for module, tensors in by_module.items():
        file_name = f"{module}.safetensors"
        save_file(tensors, str(folder / file_name), metadata={"format": "pt"})
        with open(folder / file_name, "rb") as written:
            os.fsync(written.fileno())
        weight_map |= dict.fromkeys(tensors, file_name)
        total_bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        files[file_name] = {
            "sha256": sha256_of(folder / file_name),
            "bytes": (folder / file_name).stat().st_size,
            "tensors": {name: list(tensor.shape) for name, tensor in tensors.items()},
        }
    index = {"metadata": {"total_size": total_bytes}, "weight_map": dict(sorted(weight_map.items()))}
    write_json(folder / "model.safetensors.index.json", index)
    dtypes = sorted(
        {str(tensor.dtype).removeprefix("torch.") for tensor in state.values() if tensor.is_floating_point()}
    )
    whole = {"format": FORMAT, **manifest, "dtype": "/".join(dtypes), "files": files}
    write_json(folder / "manifest.json", whole)
    return whole


def _publish(
    folder: Path, name: str, state: Mapping[str, Tensor], manifest: Mapping[str, Any]
) -> tuple[Path, dict[str, Any]]:
    temporary = folder / f".{name}.writing"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)  # what a killed run left
        temporary.mkdir()
        whole = _write_folder(temporary, state, manifest)
        target, generation = folder / name, 1
        while target.exists():
            generation += 1
            target = folder / f"{name}.g{generation}"
        temporary.rename(target)
        sync_folder(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise StorageError(
            f"{folder / name}: checkpoint not written: {error.strerror or error}; earlier ones are intact"
        ) from error
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if type(error).__name__ == "SafetensorError":  # a full disk comes back as this, without an errno
            raise StorageError(f"{folder / name}: checkpoint not written: {error}; earlier ones are intact") from error
        raise
    for old in folder.glob(f"{name}*"):  # superseded generations, now that the new one is in place
        if old != target and _FOLDER.fullmatch(old.name):
            shutil.rmtree(old, ignore_errors=True)
    return target, whole


def save_epoch(
    output: Path, *, epoch: int, state: Mapping[str, Tensor], manifest: Mapping[str, Any]
) -> EpochCheckpoint:
    """Writes the checkpoint of ``epoch`` under ``output/checkpoints``.

    Args:
        state: the whole model's tensors by their full names; every module must have some.
        manifest: ``global_step``, ``preset``, ``d_embed``, ``model``, ``statistics``, ``metrics``, ….

    Raises:
        StorageError: nothing was published; earlier checkpoints are intact.
    """
    path, whole = _publish(epochs_folder(output), f"epoch_{epoch:04d}", state, {"epoch": epoch, **manifest})
    return EpochCheckpoint(epoch, path, whole)


def save_model(folder: Path, name: str, state: Mapping[str, Tensor], manifest: Mapping[str, Any]) -> Path:
    """Writes a model that is no epoch (an average, a crossover) in the same form as ``folder/name``, replacing it."""
    temporary = folder / f".{name}.new"
    shutil.rmtree(temporary, ignore_errors=True)
    path, _ = _publish(folder, temporary.name, state, manifest)
    retired = folder / f".{name}.old"
    shutil.rmtree(retired, ignore_errors=True)
    if (folder / name).exists():
        (folder / name).rename(retired)
    path.rename(folder / name)
    sync_folder(folder)
    shutil.rmtree(retired, ignore_errors=True)
    return folder / name


def open_checkpoint(path: Path, *, verify: bool = True) -> dict[str, Any]:
    """The manifest of the checkpoint in folder ``path``.

    Args:
        verify: compare every file's size and SHA-256 with the manifest.

    Raises:
        StorageError: it is missing, damaged, or of another format; the message names the file.
    """
    manifest = read_json(path / "manifest.json")
    if (
        not isinstance(manifest, dict)
        or manifest.get("format") != FORMAT
        or not isinstance(manifest.get("files"), dict)
    ):
        raise StorageError(f"{path / 'manifest.json'}: not a checkpoint manifest of format {FORMAT}")
    for name, expected in manifest["files"].items():
        file = path / name
        if not file.is_file() or file.stat().st_size != expected["bytes"]:
            found = f"{file.stat().st_size} bytes" if file.is_file() else "nothing"
            raise StorageError(f"{file}: found {found}, the manifest says {expected['bytes']} bytes")
        if verify and sha256_of(file) != expected["sha256"]:
            raise StorageError(f"{file}: its SHA-256 is not the manifest's: the file is damaged")
    return manifest


def list_epochs(output: Path, *, verify: bool = False) -> list[EpochCheckpoint]:
    """The valid checkpoints under ``output/checkpoints``, by epoch; the newest valid generation of each."""
    found: dict[int, tuple[int, EpochCheckpoint]] = {}
    folder = epochs_folder(output)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not (match := _FOLDER.fullmatch(path.name)):
            continue
        epoch, generation = int(match[1]), int(match[2] or 1)
        try:
            manifest = open_checkpoint(path, verify=verify)
        except StorageError:
            continue  # not listed is what invalid means; open_checkpoint says why to whoever asks for it by name
        if epoch not in found or generation > found[epoch][0]:
            found[epoch] = (generation, EpochCheckpoint(epoch, path, manifest))
    return [found[epoch][1] for epoch in sorted(found)]


def load_modules(path: Path, modules: Iterable[str] | None = None) -> dict[str, Tensor]:
    """Tensors of a checkpoint by their full names; of some modules only, if named.

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
