"""The thinning of an epoch: some of its modules' files are given up, and a new generation lists what is left.

The files that stay are linked into the new generation's folder, so that at every moment one of the two is whole; where the file
system has no hard links they are copied. An epoch keeps its folder even when nothing is left of it: that says that it was trained,
and given up, not lost.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Collection
from pathlib import Path

import msgspec

from redheart.checkpoint.epoch import EpochCheckpoint, epoch_folders, folder_of, generations, list_epochs
from redheart.checkpoint.manifest import file_of, write_manifest
from redheart.checkpoint.module_files import INDEX, write_index
from redheart.errors import StorageError
from redheart.storage.atomic import sync_folder
from redheart.storage.names import reason_of
from redheart.tasks import MODULES

#: What a file system answers that has no hard links, or not so many, or not to there.
_NO_LINK = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK, errno.EACCES)


def bytes_given_up(checkpoint: EpochCheckpoint, keep: Collection[str]) -> int:
    """What ``thin`` would make free."""
    files = checkpoint.manifest.files
    return sum(files[file_of(module)].bytes for module in checkpoint.manifest.modules if module not in keep)


def thin(output: Path, checkpoint: EpochCheckpoint, keep: Collection[str]) -> EpochCheckpoint:
    """Gives up the files of all modules but ``keep``; by whoever is alone in the folder. Returns what is left.

    Args:
        checkpoint: the newest valid generation of its epoch under ``output``.
        keep: modules; those that it does not have any more don't matter.

    Raises:
        StorageError: it could not be; the checkpoint is as it was.
    """
    was = checkpoint.manifest
    gone = tuple(module for module in MODULES if module in was.thinned or module not in keep)
    if gone == was.thinned:
        return checkpoint
    earlier = generations(output, checkpoint.epoch)
    target = folder_of(output, checkpoint.epoch, max(earlier) + 1)
    temporary = target.with_name(f".{target.name}.writing")
    kept = {file_of(module): was.files[file_of(module)] for module in MODULES if module not in gone}
    try:
        shutil.rmtree(temporary, ignore_errors=True)  # what a killed run left
        temporary.mkdir()
        for name in kept:
            _link(checkpoint.path / name, temporary / name)
        index = write_index(temporary, {name: entry.tensors for name, entry in kept.items()})
        left = msgspec.structs.replace(was, files={**kept, INDEX: index}, thinned=gone)
        write_manifest(temporary, left)
        sync_folder(temporary)
        temporary.rename(target)
        sync_folder(target.parent)
    except (OSError, StorageError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        reason = reason_of(error, target) if isinstance(error, OSError) else str(error)
        raise StorageError(f"{checkpoint.path}: not thinned: {reason}; it is as it was") from error
    for superseded in earlier.values():
        shutil.rmtree(superseded, ignore_errors=True)
    return EpochCheckpoint(checkpoint.epoch, target, left)


def remove_superseded(output: Path) -> list[Path]:
    """Takes away earlier generations of epochs that have a valid later one, which a killed process left; returns them.

    To be called by whoever is alone in the folder.
    """
    newest, folders = {one.path for one in list_epochs(output)}, epoch_folders(output)
    counts = {epoch: generation for epoch, generation, path in folders if path in newest}
    found = [path for epoch, generation, path in folders if generation < counts.get(epoch, 0)]
    for path in found:
        shutil.rmtree(path, ignore_errors=True)
    return found


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        shutil.copyfile(source, target)
        with open(target, "rb") as copied:
            os.fsync(copied.fileno())
