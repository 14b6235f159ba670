"""A checkpoint of an epoch: one safetensors file a module, an index, and a manifest written last.

The index has the Hugging Face sharded form, so other tools read the folder too. The manifest holds a hash of every
file; a folder without a valid manifest does not exist as far as readers are concerned. A folder is written under a
temporary name and renamed; one that is there already is not replaced but superseded by the next generation.
"""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from redheart.checkpoint.manifest import FORMAT, Manifest, file_of, load_manifest, write_manifest
from redheart.checkpoint.module_files import ModuleFiles, Run, dtypes_of, forms_of, whole
from redheart.checkpoint.tensor_file import TensorForm
from redheart.errors import StorageError, UsageError
from redheart.paths import OutputPaths
from redheart.storage import replace_folder, sha256_of
from redheart.storage.atomic import sync_folder
from redheart.storage.names import reason_of
from redheart.tasks import MODULES

if TYPE_CHECKING:
    from torch import Tensor

START = "start"
#: What the start counts as: the model before the first epoch.
START_EPOCH = 0
_FOLDER = re.compile(r"epoch_(\d{4,})(?:\.g(\d+))?")


@dataclass(frozen=True)
class EpochCheckpoint:
    """A valid checkpoint: its epoch (1-based; 0 is the start), its folder and what its manifest says."""

    epoch: int
    path: Path
    manifest: Manifest

    @property
    def is_whole(self) -> bool:
        """Whether it has the files of all modules."""
        return not self.manifest.thinned


def epochs_folder(output: Path) -> Path:
    """Where the epochs of a run lie."""
    return OutputPaths(output).checkpoints


class FolderWriter:
    """A model's folder that is being written under a temporary name, by one process or several: made, filled, published.

    Args:
        forms: every tensor of the model.
        manifest: what it says of files is filled in here.

    Raises:
        ValueError: as of ``ModuleFiles``.
    """

    def __init__(self, target: Path, forms: Mapping[str, TensorForm], manifest: Manifest) -> None:
        self.target = target
        self.temporary = target.with_name(f".{target.name}.writing")
        self._forms, self._manifest = forms, manifest
        self.files = ModuleFiles(self.temporary, forms)

    def named(self, name: str) -> FolderWriter:
        """The same into a folder of another name."""
        return FolderWriter(self.target.with_name(name), self._forms, self._manifest)

    def create(self) -> None:
        """Makes the folder and its files in full size; by one process, before any other fills them.

        Raises:
            StorageError: there is no room, or the like; nothing is left.
        """
        with self.whole_or_gone():
            self.temporary.parent.mkdir(parents=True, exist_ok=True)
            if self.temporary.exists():  # what a killed run left
                shutil.rmtree(self.temporary)
            self.temporary.mkdir()
            self.files.create()

    def publish(self) -> Manifest:
        """Puts the folder in its target's place, once all is filled in; by one process.

        Raises:
            StorageError: nothing was published; what was there before is intact.
        """
        with self.whole_or_gone():
            entries = self.files.finish()
            found = msgspec.structs.replace(self._manifest, format=FORMAT, dtype=dtypes_of(self._forms), files=entries)
            write_manifest(self.temporary, found)
            sync_folder(self.temporary)
            replace_folder(self.temporary, self.target)
        return found

    @contextlib.contextmanager
    def whole_or_gone(self) -> Iterator[None]:
        """Whatever fails within takes the temporary folder with it; see ``naming``."""
        try:
            with self.naming():
                yield
        except BaseException:
            self.drop()
            raise

    @contextlib.contextmanager
    def naming(self) -> Iterator[None]:
        """A disk's failure within is a ``StorageError`` that names the target."""
        try:
            yield
        except (OSError, StorageError) as error:
            reason = reason_of(error, self.target) if isinstance(error, OSError) else str(error)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                reason += f" ({self.files.bytes / 2**20:,.0f} MiB are needed)"
            raise StorageError(
                f"{self.target}: checkpoint not written: {reason}; what was there before is intact"
            ) from error

    def fill(self, runs: Iterable[Run]) -> None:
        """Makes the folder and puts all numbers in, where one process has them all.

        Raises:
            StorageError: there is no room, or the like; nothing is left.
        """
        self.create()
        with self.whole_or_gone():
            self.files.write(runs)

    def drop(self) -> None:
        """Takes away what was written."""
        shutil.rmtree(self.temporary, ignore_errors=True)


def save_streamed(
    target: Path, forms: Mapping[str, TensorForm], tensors: Iterable[tuple[str, Tensor]], manifest: Manifest
) -> Manifest:
    """Writes a model that is no epoch, a tensor at a time, as the folder ``target``, replacing it. Returns its manifest.

    Args:
        forms: of all tensors; tensors: by name, in whatever order; none is kept.

    Raises:
        StorageError: ``target`` is as it was.
        ValueError: as ``save_epoch``.
    """
    writer = FolderWriter(target, forms, manifest)
    writer.fill(Run(name, 0, tensor.reshape(-1)) for name, tensor in tensors)
    return writer.publish()


def epoch_folders(output: Path) -> list[tuple[int, int, Path]]:
    """Epoch, generation and folder of all checkpoints of epochs that lie there, in order, whole or not."""
    folder = epochs_folder(output)
    found = [(_FOLDER.fullmatch(path.name), path) for path in (folder.iterdir() if folder.is_dir() else ())]
    return sorted((int(match[1]), int(match[2] or 1), path) for match, path in found if match)


def generations(output: Path, epoch: int) -> dict[int, Path]:
    """The folders of an epoch by their generation, from 1, whole or not."""
    return {generation: path for number, generation, path in epoch_folders(output) if number == epoch}


def folder_of(output: Path, epoch: int, generation: int) -> Path:
    """Where a generation of an epoch lies."""
    return epochs_folder(output) / _name_of(epoch, generation)


def _name_of(epoch: int, generation: int) -> str:
    return f"epoch_{epoch:04d}" + (f".g{generation}" if generation > 1 else "")


@dataclass(frozen=True)
class EpochWriter:
    """The checkpoint of an epoch that is being written; see ``FolderWriter``.

    Attributes:
        earlier: folders of the same epoch, which go when the new one is in place.
        generation: of the new one.
    """

    epoch: int
    folder: FolderWriter
    earlier: tuple[Path, ...]
    generation: int = 1

    @staticmethod
    def of(output: Path, epoch: int, forms: Mapping[str, TensorForm], manifest: Manifest) -> EpochWriter:
        """The writer of the epoch's next generation under ``output/checkpoints``."""
        earlier = generations(output, epoch)
        generation = max(earlier, default=0) + 1
        manifest = msgspec.structs.replace(manifest, epoch=epoch)
        folder = FolderWriter(folder_of(output, epoch, generation), forms, manifest)
        return EpochWriter(epoch, folder, tuple(earlier.values()), generation)

    @staticmethod
    def of_start(output: Path, forms: Mapping[str, TensorForm], manifest: Manifest) -> EpochWriter:
        """The writer of the model as it was before its first step, as ``output/checkpoints/start``."""
        manifest = msgspec.structs.replace(manifest, epoch=START_EPOCH)
        return EpochWriter(START_EPOCH, FolderWriter(epochs_folder(output) / START, forms, manifest), ())

    def in_generation(self, generation: int) -> EpochWriter:
        """The same for another generation of the epoch; itself where it is that one."""
        if generation == self.generation:
            return self
        return replace(self, folder=self.folder.named(_name_of(self.epoch, generation)), generation=generation)

    def publish(self) -> EpochCheckpoint:
        """Puts it in place, once all is filled in.

        Raises:
            StorageError: nothing was published; earlier checkpoints are intact.
        """
        found = self.folder.publish()
        for superseded in self.earlier:
            shutil.rmtree(superseded, ignore_errors=True)
        return EpochCheckpoint(self.epoch, self.folder.target, found)


def save_epoch(output: Path, *, epoch: int, state: Mapping[str, Tensor], manifest: Manifest) -> EpochCheckpoint:
    """Writes the checkpoint of ``epoch`` under ``output/checkpoints``; one that was there goes when the new one is in place.

    Args:
        state: the whole model's tensors by their full names; every module must have some.
        manifest: its epoch and what it says of files are filled in here.

    Raises:
        StorageError: nothing was published; earlier checkpoints are intact.
        ValueError: a module has no tensors, or a tensor is empty: the model was sharded.
    """
    writer = EpochWriter.of(output, epoch, forms_of(state), manifest)
    writer.folder.fill(whole(state))
    return writer.publish()


def save_model(folder: Path, name: str, state: Mapping[str, Tensor], manifest: Manifest) -> Path:
    """Writes a model that is no epoch (an average, a crossover) in the same form as ``folder/name``, replacing it.

    The name is exchanged with the old one's in one step, so it needs no pointer: see ``replace_folder``.

    Raises:
        StorageError: ``folder/name`` is as it was.
        ValueError: as ``save_epoch``.
    """
    save_streamed(folder / name, forms_of(state), state.items(), manifest)
    return folder / name


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


def read_manifest(path: Path, *, verify: bool = True, takes_thinned: bool = False) -> Manifest:
    """The manifest of the checkpoint in folder ``path``.

    Args:
        verify: compare every file's size and SHA-256 with the manifest.
        takes_thinned: whether some modules alone will do.

    Raises:
        StorageError: it is missing, damaged, or of another format; the message names the file.
        UsageError: it was thinned, and is no whole model.
    """
    manifest = load_manifest(path)
    if not takes_thinned:
        check_not_thinned(path, manifest)
    for name, expected in manifest.files.items():
        file = path / name
        if not file.is_file() or file.stat().st_size != expected.bytes:
            found = f"{file.stat().st_size} bytes" if file.is_file() else "nothing"
            raise StorageError(f"{file}: found {found}, the manifest says {expected.bytes} bytes")
        if verify and sha256_of(file) != expected.sha256:
            raise StorageError(f"{file}: its SHA-256 is not the manifest's: the file is damaged")
    return manifest


def check_not_thinned(path: Path, manifest: Manifest) -> None:
    """Whether the checkpoint in folder ``path`` is a whole model.

    Raises:
        UsageError: it was thinned.
    """
    if manifest.thinned:
        raise UsageError(
            f"{path}: found an epoch of which {len(manifest.modules)} of {len(MODULES)} modules are kept "
            f"({', '.join(manifest.modules) or 'none'}), wanted a whole model: the others were given up for room on the disk "
            "(training.keep_epochs); take an epoch that is whole – the last ones are –, or best_model"
        )


def list_epochs(output: Path, *, verify: bool = False) -> list[EpochCheckpoint]:
    """The valid checkpoints under ``output/checkpoints``, by epoch; the newest valid generation of each, thinned or whole."""
    found: dict[int, EpochCheckpoint] = {}
    for epoch, _, path in epoch_folders(output):  # a later generation takes an earlier one's place
        # Not listed is what invalid means; read_manifest says why to whoever asks for it by name.
        with contextlib.suppress(StorageError, OSError):
            manifest = read_manifest(path, verify=verify, takes_thinned=True)
            found[epoch] = EpochCheckpoint(epoch, path, manifest)
    return list(found.values())


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
        file = path / file_of(module)
        try:
            state |= load_file(str(file))
        except (OSError, SafetensorError) as error:
            raise StorageError(f"{file}: can't be read: {error}") from error
    return state
