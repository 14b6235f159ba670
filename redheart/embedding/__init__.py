"""The embedding: texts cut into segments, encoded in batches, stored in memory-mapped files, read by index.

The names below are resolved on first use, so that importing this package does not import numpy or torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redheart.embedding.dataset import EmbeddedDataset, PaddedSegments, Segments
    from redheart.embedding.embed import embed_dataset
    from redheart.embedding.model_source import find_model
    from redheart.embedding.open_dataset import open_embedded

_HOME = {
    "EmbeddedDataset": "dataset",
    "PaddedSegments": "dataset",
    "Segments": "dataset",
    "embed_dataset": "embed",
    "find_model": "model_source",
    "open_embedded": "open_dataset",
}

__all__ = ["EmbeddedDataset", "PaddedSegments", "Segments", "embed_dataset", "find_model", "open_embedded"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
