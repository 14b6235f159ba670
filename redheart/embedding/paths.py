"""Paths of a dataset's ``.embedded.json`` and of its vectors."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from redheart.data.locate import EMBEDDED_ENDING, is_bundled_sample
from redheart.errors import StorageError
from redheart.paths import OutputPaths


@dataclass(frozen=True, slots=True)
class EmbeddingPaths:
    """``json``: the dataset with its keys. ``vectors``: the folder beside it that holds the vectors."""

    json: Path
    vectors: Path


def stem_of(dataset: Path) -> str:
    """``x`` for ``x.json``, ``x.jsonl`` and ``x.embedded.json``."""
    name = dataset.name
    return name.removesuffix(EMBEDDED_ENDING) if name.endswith(EMBEDDED_ENDING) else dataset.stem


def paths_in(folder: Path, dataset: Path) -> EmbeddingPaths:
    """The paths of ``dataset`` in ``folder``."""
    stem = stem_of(dataset)
    return EmbeddingPaths(folder / f"{stem}{EMBEDDED_ENDING}", folder / f"{stem}.vectors")


def is_writable(folder: Path) -> bool:
    """Whether a file may be made in ``folder``: asked of the system, and then tried (a mount may be read-only).

    A folder that its owner made read-only is respected for root too, whom the system lets write anywhere.

    Raises:
        StorageError: it can't for a reason that another folder would not mend: the disk is full.
    """
    nobody_writes = not folder.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    if nobody_writes or not os.access(folder, os.W_OK | os.X_OK):
        return False
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".redheart-"):
            return True
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return False
        raise StorageError(f"{folder}: could not write: {error.strerror or error}") from error


def _usable(paths: EmbeddingPaths) -> bool:
    """Whether what is there already may be replaced too: another user's files in a shared folder may not."""
    if paths.vectors.exists() and not is_writable(paths.vectors):
        return False
    return is_writable(paths.json.parent)


def target_paths(dataset: Path, output_root: Path) -> EmbeddingPaths:
    """Beside the dataset; in ``output_root/embeddings`` where that can't be written, and for the bundled sample."""
    beside = paths_in(dataset.parent, dataset)
    if not is_bundled_sample(dataset) and _usable(beside):
        return beside
    return paths_in(OutputPaths(output_root).embeddings, dataset)
