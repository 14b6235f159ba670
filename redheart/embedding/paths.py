"""Paths of a dataset's ``.embedded.json`` and of its vectors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from redheart.data.locate import EMBEDDED_ENDING, is_bundled_sample
from redheart.paths import OutputPaths
from redheart.storage.writable import is_writable


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
