"""From a checkpoint's folder back to a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redheart.checkpoint import load_modules, open_checkpoint
from redheart.embedding import EmbeddedDataset
from redheart.errors import RedHeartError, StorageError
from redheart.model.presets import ModelDimensions
from redheart.model.statistics import TargetStatistics
from redheart.model.unified import UnifiedModel


def build_from_manifest(manifest: Mapping[str, Any]) -> UnifiedModel:
    """A model of the manifest's dimensions and statistics with random weights, in evaluation mode, on the CPU.

    Raises:
        StorageError: the manifest describes no model of this version.
    """
    try:
        dimensions = ModelDimensions.from_json(manifest["model"])
        statistics = TargetStatistics.from_json(manifest["statistics"])
    except (KeyError, ValueError, TypeError) as error:
        raise StorageError(f"checkpoint manifest: no model of this version can be built from it: {error}") from error
    return UnifiedModel(dimensions, statistics).eval()


def check_encoder(manifest: Mapping[str, Any], dataset: EmbeddedDataset) -> None:
    """Whether the vectors of ``dataset`` come from the encoder whose vectors the checkpoint was trained on.

    Vectors of another encoder of the same size mean nothing to the model, and its numbers on them would look like numbers.
    A checkpoint or vectors of before fingerprints were kept are let through: nothing is known against them.

    Raises:
        RedHeartError: both fingerprints are known and differ; naming both encoders.
    """
    trained = manifest.get("encoder") or {}
    wanted, found = trained.get("fingerprint", ""), dataset.model_fingerprint
    if wanted and found and wanted != found:
        raise RedHeartError(
            f"{dataset.path}: its vectors are from the encoder {dataset.model_name!r} ({found}), and the checkpoint was "
            f"trained on those of {trained.get('name', '')!r} ({wanted}): embed this data again with that encoder "
            f"(embedding.model)"
        )


def restore_model(path: Path, *, verify: bool = True) -> UnifiedModel:
    """The model that the checkpoint in folder ``path`` holds, in evaluation mode, on the CPU.

    Raises:
        StorageError: the folder is damaged, or its tensors are not those of the model that its manifest describes.
    """
    model = build_from_manifest(open_checkpoint(path, verify=verify))
    try:
        model.load_state_dict(load_modules(path))
    except RuntimeError as error:
        raise StorageError(f"{path}: its tensors don't fit the model that its manifest describes: {error}") from error
    return model
