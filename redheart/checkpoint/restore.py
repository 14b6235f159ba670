"""The restoring of a model from a checkpoint's folder or a crossover's file, and the checks that it fits its use."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from redheart.checkpoint import Manifest, load_modules, read_manifest
from redheart.checkpoint.manifest import NAME as MANIFEST
from redheart.checkpoint.tensor_file import misfit_of
from redheart.config import EmbeddingConfig
from redheart.embedding import EmbeddedDataset
from redheart.errors import AnotherEncoder, AnotherModel, StorageError, UsageError
from redheart.facts.model import ModelDescription
from redheart.model.exported import CONFIG, read_config
from redheart.model.meta_device import meta_device
from redheart.model.presets import PRESETS, ModelDimensions
from redheart.model.statistics import TargetStatistics
from redheart.model.unified import UnifiedModel
from redheart.paths import OutputPaths
from redheart.storage import as_struct
from redheart.storage.names import as_typed

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def build_from_manifest(manifest: ModelDescription) -> UnifiedModel:
    """A model of the manifest's dimensions and statistics with random weights, in evaluation mode, on the CPU.

    Raises:
        AnotherModel: the manifest describes no model of this version.
    """
    try:
        dimensions, statistics = ModelDimensions.from_json(manifest.model), statistics_of(manifest)
    except (ValueError, TypeError) as error:
        raise AnotherModel(f"checkpoint manifest: no model of this version can be built from it: {error}") from error
    model = UnifiedModel(dimensions, statistics).eval()
    model.facts = manifest.facts()
    return model


def empty_model(manifest: ModelDescription, device: torch.device | str = "cpu") -> UnifiedModel:
    """As ``build_from_manifest``, with weights and buffers that are to be filled in, each of them: what is in memory there.

    Drawing 731M random numbers that are overwritten at once would take longer than reading the weights.
    """
    with meta_device():
        model = build_from_manifest(manifest)
    return model.to_empty(device=device)


def check_encoder(manifest: ModelDescription, dataset: EmbeddedDataset) -> None:
    """Whether the vectors of ``dataset`` come from the encoder whose vectors the checkpoint was trained on.

    Vectors of another encoder of the same size mean nothing to the model, and its numbers on them would look like numbers.
    A checkpoint or vectors of before fingerprints were kept are let through: nothing is known against them.

    Raises:
        AnotherEncoder: both fingerprints are known and differ; naming both encoders.
    """
    trained = manifest.encoder
    wanted, found = trained.fingerprint, dataset.model_fingerprint
    if wanted and found and wanted != found:
        raise AnotherEncoder(
            f"{dataset.path}: its vectors are from the encoder {dataset.model_name!r} ({found}), and the checkpoint was "
            f"trained on those of {trained.name!r} ({wanted}){_behind(trained.prompt)}: embed this data again with that encoder "
            f"(redheart embed --data {as_typed(dataset.path)} {as_typed(f'embedding.model={trained.name}')}"
            f"{' ' + as_typed(f'embedding.prompt={trained.prompt}') if trained.prompt else ''})"
        )


def _behind(prompt: str | None) -> str:
    return "" if prompt is None else f", which read every text behind {prompt!r}"


def shape_of(dimensions: ModelDimensions) -> str:
    """A model's shape in words, to be set beside another's."""
    shape = (
        f"preset {dimensions.preset!r} (width {dimensions.d_model}, {dimensions.layers} layers) for vectors of "
        f"{dimensions.d_embed} numbers"
    )
    return shape + (f", without {', '.join(dimensions.without)}" if dimensions.without else "")


def build_dimensions(manifest: ModelDescription, what: Path) -> ModelDimensions:
    """The shape of the model that a manifest describes.

    Raises:
        AnotherModel: it describes none of this version.
    """
    try:
        return ModelDimensions.from_json(manifest.model)
    except (ValueError, TypeError) as error:
        raise AnotherModel(f"{what}: its manifest describes no model of this version: {error}") from error


def check_preset(manifest: ModelDescription, what: Path, preset: str) -> None:
    """Whether ``what`` holds a model of the preset that was asked for; ``auto`` asks for none.

    Raises:
        AnotherModel: it does not; naming both shapes.
    """
    found = build_dimensions(manifest, what)
    if preset not in ("auto", found.preset):
        asked = PRESETS[preset]
        raise AnotherModel(
            f"{what}: found {shape_of(found)}, and model.preset={preset} asks for a width of {asked.d_model} and "
            f"{asked.layers} layers: leave --preset out, or name a checkpoint of that preset"
        )


def check_same_model(manifest: ModelDescription, what: Path, wanted: ModelDimensions, whose: str) -> None:
    """Whether the model in ``what`` has the shape of another one.

    Args:
        whose: what has the wanted shape, for the message.

    Raises:
        AnotherModel: it has not; naming both shapes, and where these do not differ the settings that do.
    """
    found = build_dimensions(manifest, what)
    # Dropout changes no shape: weights trained with one value fit a model with another.
    one, other = (
        {key: value for key, value in each.to_json().items() if "dropout" not in key} for each in (found, wanted)
    )
    if one != other:
        differ = "; ".join(f"{key} {one[key]} and {other[key]}" for key in one if one[key] != other[key])
        raise AnotherModel(f"{what}: found {shape_of(found)}; {whose} has {shape_of(wanted)} (different: {differ})")


def check_vectors(manifest: ModelDescription, what: Path, dataset: EmbeddedDataset) -> None:
    """Whether the vectors of ``dataset`` are such as the model in ``what`` was trained on: their size, and their encoder.

    Raises:
        AnotherEncoder: they are of another size, or from another encoder; naming both.
    """
    found = build_dimensions(manifest, what)
    if found.d_embed != dataset.d_embed:
        trained = manifest.encoder.name or "an encoder that is not known"
        raise AnotherEncoder(
            f"{what}: found {shape_of(found)}; {dataset.path} has vectors of {dataset.d_embed} numbers "
            f"({dataset.model_name or 'encoder not known'}): embed this data with {trained} (embedding.model)"
        )
    check_encoder(manifest, dataset)


def embedding_settings(manifest: ModelDescription, given: EmbeddingConfig) -> EmbeddingConfig:
    """How other texts have to be embedded for the model: with its encoder and prompt, cut as what it was trained on was cut.

    Args:
        given: the user's settings; an encoder that they name is where the checkpoint's own is looked for. Whether it is
            that one is for ``check_vectors`` to say.
    """
    name, cut = manifest.encoder.name, manifest.segmentation
    if name and given.model == EmbeddingConfig().model:
        given = msgspec.structs.replace(given, model=name)
    if manifest.encoder.fingerprint:
        given = msgspec.structs.replace(given, prompt=manifest.encoder.prompt)
    if cut is None:
        return given
    return msgspec.structs.replace(given, window_word_pieces=cut.window_word_pieces, max_segments=cut.max_segments)


@dataclass(frozen=True)
class Restored:
    """A model in evaluation mode, on the CPU, and what its checkpoint says of it."""

    path: Path
    manifest: ModelDescription
    model: UnifiedModel


def open_model(path: Path, *, verify: bool = True) -> Restored:
    """The model of a checkpoint, wherever it came from.

    Args:
        path: a folder with a manifest – an epoch, ``best_model``, what ``consolidate`` wrote –, what ``export`` wrote,
            the file ``crossover_final.pth``, or the folder ``crossover`` beside it.

    Raises:
        UsageError: nothing of that kind is there.
        StorageError: it is damaged; names the file, and what writes it anew.
        AnotherModel: its tensors are not those of the model that its manifest describes.
    """
    try:
        return _open(path, verify=verify)
    except StorageError as error:
        raise StorageError(f"{error}; {_what_helps(path)}") from error


def _what_helps(path: Path) -> str:
    """What brings a damaged checkpoint back."""
    output = OutputPaths(path.parent)
    made_by = {
        **dict.fromkeys(
            (OutputPaths.best_model.name, OutputPaths.combined.name, OutputPaths.crossover.name),
            output.command("crossover --force"),
        ),
        OutputPaths.consolidated.name: output.command("consolidate"),
    }
    command = made_by.get(path.name)
    return "put it back from a copy" + (f", or have it written anew by `{command}`" if command else "")


def _open(path: Path, *, verify: bool) -> Restored:
    combined = _combined_in(path)
    if combined.is_file():
        return _open_combined(combined, verify=verify)
    if not (path / MANIFEST).is_file():
        if (path / CONFIG).is_file():
            return Restored(path, read_config(path), UnifiedModel.from_pretrained(path))
        found = "a folder without manifest.json" if path.is_dir() else "no such file or folder"
        raise UsageError(
            f"{combined}: found {found if combined == path else 'no such file'}; wanted a checkpoint: a folder with a "
            "manifest.json (checkpoints/epoch_NNNN, best_model, consolidated), an export, or crossover_final.pth"
        )
    return Restored(path, read_manifest(path, verify=False), restore_model(path, verify=verify))


def _open_combined(path: Path, *, verify: bool) -> Restored:
    manifest, state = _read_combined(path, verify=verify)
    return Restored(path, manifest, _filled(empty_model(manifest), state, path))


def _read_combined(path: Path, *, verify: bool = False) -> tuple[Manifest, dict[str, Tensor]]:
    """What ``crossover_final.pth`` says of itself, and its tensors, which lie in the mapped file.

    Args:
        verify: compare every entry with its checksum in the archive, which PyTorch does not do.
    """
    import torch

    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise StorageError(f"{path}: can't be read: {error.strerror or error}") from error
    if not zipfile.is_zipfile(path) and path.name == OutputPaths.combined.name:
        raise StorageError(f"{path}: damaged: found no PyTorch archive (is its end missing?)")
    if not zipfile.is_zipfile(path):
        raise UsageError(f"{path}: found a file that is no PyTorch archive; wanted crossover_final.pth or a folder")
    try:
        if verify and (damaged := _damaged_entry(path)):
            raise StorageError(f"{path}: damaged: {damaged}: its CRC-32 is not the archive's")
        content = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
        stored, state = dict(content["manifest"]), dict(content["state_dict"])
    except StorageError:
        raise
    except pickle.UnpicklingError as error:  # PyTorch's own words go on with how to run it all the same
        raise StorageError(
            f"{path}: can't be read as a crossover: it holds a pickle of other things than tensors and facts, which is not run"
        ) from error
    except Exception as error:  # a damaged or foreign archive fails in as many ways as there are readers below
        raise StorageError(f"{path}: can't be read as a crossover: {type(error).__name__}: {error}") from error
    return as_struct(stored, Manifest, f"{path}: manifest"), state


def _damaged_entry(path: Path) -> str | None:
    with zipfile.ZipFile(path) as archive:
        return archive.testzip()


def describe(path: Path) -> ModelDescription:
    """What a checkpoint says of itself, of whatever kind ``open_model`` takes; its weights are not read.

    Raises:
        UsageError, StorageError: as of ``open_model``.
    """
    combined = _combined_in(path)
    if combined.is_file():
        return _read_combined(combined)[0]
    return read_config(path) if not (path / MANIFEST).is_file() else read_manifest(path, verify=False)


def fill(model: UnifiedModel, path: Path) -> None:
    """Copies a checkpoint's weights into a model of its shape, from the mapped files: no second model is made.

    Raises:
        UsageError, StorageError, AnotherModel: as of ``open_model``.
    """
    combined = _combined_in(path)
    if combined.is_file():
        state = _read_combined(combined, verify=True)[1]
    elif (path / MANIFEST).is_file():
        read_manifest(path)
        state = load_modules(path)
    else:
        state = UnifiedModel.from_pretrained(path).state_dict()
    _filled(model, state, path)


def statistics_of(manifest: ModelDescription) -> TargetStatistics:
    """What a checkpoint's targets were measured by.

    Raises:
        AnotherModel: it has other tasks than this version.
    """
    try:
        return TargetStatistics.from_json(manifest.statistics, manifest.training_split)
    except (ValueError, TypeError) as error:
        raise AnotherModel(f"checkpoint manifest: its statistics are of another version: {error}") from error


def _combined_in(path: Path) -> Path:
    """The file that the folder ``crossover`` is about, or ``path`` itself."""
    return OutputPaths(path.parent).combined if (path / OutputPaths.candidates.name).is_file() else path


def _filled(model: UnifiedModel, state: Mapping[str, Tensor], path: Path) -> UnifiedModel:
    if misfit := misfit_of(state, model.state_dict()):
        raise AnotherModel(
            f"{path}: its tensors don't fit the model that its manifest describes: {misfit}; they are of another version of "
            "the model: use the one that wrote them, or train anew"
        )
    model.load_state_dict(state)
    return model


def restore_model(path: Path, *, verify: bool = True) -> UnifiedModel:
    """The model that the checkpoint in folder ``path`` holds, in evaluation mode, on the CPU.

    Raises:
        StorageError: the folder is damaged, or its tensors are not those of the model that its manifest describes; naming
            both shapes.
    """
    model = empty_model(read_manifest(path, verify=verify))
    return _filled(model, load_modules(path), path)
