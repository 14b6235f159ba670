"""Checkpoints of this project as sources: an epoch or another model by module, an export, a resume state of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from redheart.checkpoint import Manifest, read_manifest
from redheart.checkpoint.manifest import NAME as MANIFEST
from redheart.consolidation.forms.deepspeed_files import tag_folder
from redheart.consolidation.forms.safetensors_files import read_safetensors, read_slices
from redheart.consolidation.forms.zero import read_zero
from redheart.consolidation.source import Source, StoredTensor
from redheart.errors import StorageError
from redheart.facts.model import ModelDescription
from redheart.model.exported import CONFIG, WEIGHTS, read_config
from redheart.storage import as_struct, read_json
from redheart.storage.seal import read_sealed

#: In a resume state: what the engine wrote. By tensor, in slices of each process, and what no optimizer held.
ENGINE, SLICES, OUTSIDE = "engine", "slices_*.safetensors", "outside.safetensors"
#: The kinds of slices that are the model: the average of the weights where one is kept, else the weights.
WEIGHT_SLICES, AVERAGE_SLICES = "weight/", "average/"
#: In an older one: what DeepSpeed wrote, or Accelerate, and the average of the weights, where one is kept.
DEEPSPEED, PLAIN, AVERAGE = "pytorch_model", "model.safetensors", "average_*.safetensors"


def _as_manifest(described: ModelDescription) -> Manifest:
    return Manifest(**{name: getattr(described, name) for name in ModelDescription.__struct_fields__})


def is_checkpoint(folder: Path) -> bool:
    """Whether a manifest of ours lies there, of whatever kind."""
    return (folder / MANIFEST).is_file()


def is_resume_state(folder: Path) -> bool:
    """Whether ``folder`` is a state that a run goes on from.

    Raises:
        StorageError: its manifest is no JSON.
    """
    if not is_checkpoint(folder):
        return False
    content = read_json(folder / MANIFEST)
    return isinstance(content, dict) and "cursor" in content


def read_checkpoint(folder: Path) -> Source:
    """A model by module: an epoch, ``best_model``, ``start``, or what was consolidated.

    Raises:
        StorageError: its manifest is missing, damaged or of another version, or a file is not as it says.
    """
    manifest = read_manifest(folder, verify=False)
    tensors: dict[str, StoredTensor] = {}
    for name in manifest.files:
        if name.endswith(".safetensors"):
            tensors |= read_safetensors(folder / name).tensors
    hashes = {folder / name: entry.sha256 for name, entry in manifest.files.items()}
    return Source(folder, "checkpoint", tensors, manifest, hashes)


def read_export(folder: Path) -> Source:
    """What ``redheart export`` or ``save_pretrained`` wrote.

    Raises:
        StorageError: it is damaged, or of another version.
    """
    config = read_config(folder)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise StorageError(f"{weights}: not found, though {folder / CONFIG} tells of it")
    hashes = {weights: config.export.sha256}
    return Source(folder, "export", read_safetensors(weights).tensors, _as_manifest(config), hashes)


class _Hash(msgspec.Struct):
    sha256: str


class _Cursor(msgspec.Struct):
    epoch: int
    batches_done: int
    global_step: int
    manifest: Manifest


class _State(msgspec.Struct):
    """The part of a resume state's manifest that tells of weights."""

    cursor: _Cursor
    files: dict[str, _Hash]


def read_resume_state(folder: Path) -> Source:
    """The weights of a state that a run goes on from; where training averages them, the average, as an epoch's are.

    Raises:
        StorageError: it is damaged, or holds no weights.
    """
    state = as_struct(
        read_sealed(folder / MANIFEST), _State, f"{folder / MANIFEST}: not the manifest of a resume state"
    )
    cursor = state.cursor
    epoch = cursor.epoch - (0 if cursor.batches_done else 1)
    facts = msgspec.structs.replace(cursor.manifest, epoch=epoch, global_step=cursor.global_step, metrics={})
    for name in state.files:
        if not (folder / name).is_file():
            raise StorageError(f"{folder / name}: not found, though {folder / MANIFEST} tells of it")
    what, tensors = _weights_of_engine(folder / ENGINE)
    if averages := sorted(folder.glob(AVERAGE)):
        what += ", its average"
        tensors = {**tensors, **read_slices(averages)}
    # What DeepSpeed wrote has checksums of its own; its hashes go over the optimizer's moments too, which nobody needs.
    hashes = {folder / name: one.sha256 for name, one in state.files.items() if name.endswith(".safetensors")}
    used = {run.file for tensor in tensors.values() for run in tensor.runs}
    return Source(
        folder, f"resume state ({what})", tensors, facts, {file: one for file, one in hashes.items() if file in used}
    )


def _weights_of_engine(engine: Path) -> tuple[str, Mapping[str, StoredTensor]]:
    """What an engine wrote: in words, and its tensors. Another form of a state is another branch here."""
    if slices := sorted(engine.glob(SLICES)):
        return _sliced(engine, slices)
    if (engine / DEEPSPEED).is_dir():
        source = read_zero(tag_folder(engine / DEEPSPEED) or engine / DEEPSPEED)
        return source.what, source.tensors
    if (engine / PLAIN).is_file():
        return "plain", read_safetensors(engine / PLAIN).tensors
    raise StorageError(f"{engine}: found neither ZeRO shards nor {PLAIN}")


def _sliced(engine: Path, files: list[Path]) -> tuple[str, Mapping[str, StoredTensor]]:
    weights, averages = read_slices(files, WEIGHT_SLICES), read_slices(files, AVERAGE_SLICES)
    if not weights:
        raise StorageError(f"{engine}: found no weights in {', '.join(file.name for file in files[:4])}")
    outside = read_safetensors(engine / OUTSIDE).tensors
    what = f"by tensor, {len(files)} file{'s' if len(files) > 1 else ''}{', the average' if averages else ''}"
    return what, {**outside, **weights, **averages}
