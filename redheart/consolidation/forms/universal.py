"""DeepSpeed's universal checkpoints: for each parameter a folder with its whole fp32 weight, whatever cut it before."""

from __future__ import annotations

from pathlib import Path

from redheart.consolidation.forms.deepspeed_files import StateFile, find_states
from redheart.consolidation.forms.torch_archive import read_archive
from redheart.consolidation.forms.zero import buffers_of, frozen_whole, made_up, shared_with
from redheart.consolidation.source import Source, StoredTensor, without_wrappers
from redheart.errors import StorageError

_FOLDER, _FILE, _TENSOR = "zero", "fp32.pt", "param"


def is_universal(folder: Path) -> bool:
    """Whether ``folder`` is what DeepSpeed's ``ds_to_universal`` writes."""
    return next((folder / _FOLDER).glob(f"*/{_FILE}"), None) is not None


def read_universal(folder: Path) -> Source:
    """The weights of a universal checkpoint of a model that no tensor parallelism cut.

    Raises:
        UsageError: the model was cut by more than ZeRO.
        StorageError: a parameter's file is missing or damaged, or holds less than its shape wants.
    """
    files = find_states(folder)
    if 0 not in files.model:
        raise StorageError(f"{folder}: found no file *_model_states.pt, which says the names and shapes of the weights")
    model = StateFile.read(files.model[0])
    tensors = buffers_of(model)
    if len(files.model) == 1:  # under ZeRO-3 each process's file has a part of what is frozen
        tensors |= frozen_whole(model)
    for number, group in enumerate(model.listed("param_shapes")):
        for name, shape in model.shapes(f"param_shapes.{number}", group).items():
            tensors[name] = _parameter(folder / _FOLDER / name / _FILE, name, shape)
    tensors |= shared_with(model, tensors)
    return Source(folder, "DeepSpeed universal", without_wrappers(folder, tensors))


def _parameter(path: Path, name: str, shape: tuple[int, ...]) -> StoredTensor:
    if not path.is_file():
        raise StorageError(f"{path}: not found, where the weight {name} should be")
    archive = read_archive(path)
    value = archive.content.get(_TENSOR) if isinstance(archive.content, dict) else archive.content
    tensor = archive.tensor(_TENSOR, value)
    return tensor if tensor.shape == shape else made_up(path, name, shape, [tensor])
