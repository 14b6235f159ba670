"""The forms of checkpoints that can be read: told by what a file or folder holds, never by a name that somebody gave it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from redheart.checkpoint import Manifest
from redheart.consolidation.forms.deepspeed_files import tag_folder
from redheart.consolidation.forms.own_forms import (
    is_checkpoint,
    is_resume_state,
    read_checkpoint,
    read_export,
    read_resume_state,
)
from redheart.consolidation.forms.safetensors_files import LENGTH, is_index, read_index, read_safetensors
from redheart.consolidation.forms.state_dict import read_state_dict
from redheart.consolidation.forms.torch_archive import PICKLE, ZIP
from redheart.consolidation.forms.universal import is_universal, read_universal
from redheart.consolidation.forms.zero import read_zero
from redheart.consolidation.reading import opened
from redheart.consolidation.source import Source, without_wrappers
from redheart.errors import StorageError, UsageError
from redheart.model.exported import is_export
from redheart.paths import OutputPaths
from redheart.storage.names import reason_of

#: Where the facts of a model lie in the metadata of one safetensors file that was consolidated.
FACTS = "redheart"
WANTED = (
    "wanted a checkpoint: an epoch's folder, best_model, an export, crossover_final.pth, a resume state, a folder of "
    "DeepSpeed's, a state dict (.pth) or safetensors"
)


def open_source(path: Path) -> Source:
    """The checkpoint that ``path`` is, whoever wrote it. Headers are read, and no weights.

    Raises:
        UsageError: it is none, or a pickle.
        StorageError: it is damaged, or can't be read.
        AnotherModel: it is of a version of ours with other tasks.
    """
    try:
        os.lstat(path)  # Path.exists() says of what may not be looked at that it is not there
        return replace(_folder(path) if path.is_dir() else _file(path), path=path)
    except (FileNotFoundError, NotADirectoryError) as error:
        if os.path.exists(path):  # something within it
            raise StorageError(f"{path}: could not read: {error.filename}: {reason_of(error, path)}") from error
        raise UsageError(f"{path}: found no such file or folder; {WANTED}") from error
    except OSError as error:
        raise StorageError(f"{path}: could not read: {reason_of(error, path)}") from error


def _folder(path: Path) -> Source:
    for recognises, read in _FOLDERS:
        if recognises(path):
            return read(path)
    return _read_single(path)


def _holds_deepspeeds(path: Path) -> bool:
    return tag_folder(path) is not None


def _read_deepspeeds(path: Path) -> Source:
    tag = tag_folder(path) or path
    return read_universal(tag) if is_universal(tag) else read_zero(tag)


def _indexes(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if is_index(one))


def _read_indexed(path: Path) -> Source:
    # Where both forms of the same weights lie side by side, safetensors is the one without a pickle.
    index = next((one for one in reversed(_indexes(path)) if ".safetensors" in one.name), _indexes(path)[0])
    return Source(path, "sharded weights", without_wrappers(index, read_index(index)))


#: How a folder is recognised, and read; the first that fits. A new form is a line here.
_FOLDERS: tuple[tuple[Callable[[Path], bool], Callable[[Path], Source]], ...] = (
    (is_resume_state, read_resume_state),
    (is_checkpoint, read_checkpoint),
    (is_export, read_export),
    (_holds_deepspeeds, _read_deepspeeds),  # before others: beside it some scripts put its weights in 16 bits
    (lambda path: bool(_indexes(path)), _read_indexed),
)


def _read_single(path: Path) -> Source:
    """The one file of weights in a folder.

    Raises:
        UsageError: there is none, or more than one.
    """
    files = sorted(one for one in path.iterdir() if one.suffix in (".safetensors", ".pth", ".pt", ".bin"))
    usual = [one for one in files if one.name in ("model.safetensors", "pytorch_model.bin")]
    if len(files) == 1 or usual:
        return _file(usual[0] if usual else files[0])
    if files:
        raise UsageError(f"{path}: found {', '.join(one.name for one in files[:4])} and no index; name one of them")
    output = OutputPaths(path)
    if output.checkpoints.is_dir() or output.run.is_file():
        raise UsageError(
            f"{path}: is the folder of a run; `{output.command('consolidate')}` takes its newest state. Or name one of its "
            f"checkpoints, such as {output.checkpoints / 'epoch_0001'} or {output.best_model}"
        )
    there = ", ".join(sorted(one.name for one in path.iterdir())[:5]) or "nothing"
    raise UsageError(f"{path}: found a folder with {there} in it; {WANTED}")


def _file(path: Path) -> Source:
    if is_index(path):
        return Source(path, "sharded weights", without_wrappers(path, read_index(path)))
    beginning = _beginning(path)
    if beginning.startswith((ZIP, PICKLE)) or (not beginning and path.suffix != ".safetensors"):
        return read_state_dict(path)
    if path.suffix == ".safetensors" or beginning[LENGTH:] == b"{":
        found = read_safetensors(path)
        facts = _facts(path, found.metadata.get(FACTS))
        return Source(path, "safetensors", without_wrappers(path, found.tensors), facts)
    raise UsageError(f"{path}: found a file that begins with {beginning!r}; {WANTED}")


def _beginning(path: Path) -> bytes:
    descriptor = opened(path)
    try:
        return os.pread(descriptor, LENGTH + 1, 0)
    finally:
        os.close(descriptor)


def _facts(path: Path, stored: str | None) -> Manifest | None:
    """What a file that was consolidated says of its model."""
    if stored is None:
        return None
    try:
        return msgspec.json.decode(stored, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StorageError(f"{path}: its metadata {FACTS!r} can't be read: {error}") from error
