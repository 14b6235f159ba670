"""The manifest of a checkpoint: facts of the model, its metrics, a hash of every file and one of its own; written last, read first."""

from __future__ import annotations

from pathlib import Path

import msgspec

from redheart.errors import StorageError
from redheart.facts.model import ModelDescription
from redheart.facts.scores import SplitScores
from redheart.storage import as_struct, fingerprint, read_json
from redheart.storage.seal import check_seal, write_sealed
from redheart.tasks import MODULES

FORMAT = 1
NAME = "manifest.json"


def file_of(module: str) -> str:
    """The name of a module's file in a checkpoint's folder."""
    return f"{module}.safetensors"


class FileEntry(msgspec.Struct, frozen=True):
    """One file of a checkpoint; ``tensors``: their shapes by full name."""

    sha256: str
    bytes: int
    tensors: dict[str, list[int]]


class Manifest(ModelDescription, frozen=True, kw_only=True, omit_defaults=True):
    """What a checkpoint says of itself.

    Attributes:
        format, dtype, files: filled in by whoever writes the files.
        metrics: scores by split: an epoch's on ``choose``; None where nothing was measured.
        thinned: modules whose files were given up for room; see ``thinning.py``.
    """

    format: int = 0
    metrics: dict[str, SplitScores] | None = None
    dtype: str = ""
    files: dict[str, FileEntry] = msgspec.field(default_factory=dict)
    thinned: tuple[str, ...] = ()

    @property
    def modules(self) -> tuple[str, ...]:
        """Those that have their file."""
        return tuple(module for module in MODULES if module not in self.thinned)

    @property
    def weights_identity(self) -> str | None:
        """16 hex digits that tell a checkpoint's weights from others'; None for what has no hashes of files."""
        return fingerprint({name: entry.sha256 for name, entry in self.files.items()}) if self.files else None

    def without_files(self) -> Manifest:
        """The same of a model that is to be written elsewhere, and that is no epoch."""
        return msgspec.structs.replace(self, format=0, epoch=None, metrics=None, files={}, thinned=())


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes ``folder/manifest.json``."""
    write_sealed(folder / NAME, manifest)


def load_manifest(folder: Path) -> Manifest:
    """``folder/manifest.json``; what the files hold is not looked at.

    Raises:
        StorageError: it is missing, damaged, of another format, or without an entry for a module that was not given up; naming
            the file.
    """
    path = folder / NAME
    content = read_json(path)
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise StorageError(f"{path}: not a checkpoint manifest of format {FORMAT}")
    check_seal(content, path)
    manifest = as_struct(content, Manifest, f"{path}: not a checkpoint manifest of format {FORMAT}")
    for module in manifest.thinned:
        if module not in MODULES or file_of(module) in manifest.files or manifest.thinned.count(module) > 1:
            raise StorageError(
                f"{path}: not a checkpoint manifest of format {FORMAT}: thinned: found {module!r}, wanted modules without a file, each once"
            )
    missing = [module for module in manifest.modules if file_of(module) not in manifest.files]
    if missing:
        raise StorageError(
            f"{path}: not a checkpoint manifest of format {FORMAT}: files: found none of module {missing[0]!r}"
        )
    return manifest
