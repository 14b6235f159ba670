"""Checkpoints of DeepSpeed's ZeRO, stages 1 to 3: where each parameter lies in the flattened fp32 weights of all processes.

Only those weights, buffers and frozen parameters are read; the optimizer's moments, which lie in the same files, never are.

ZeRO-1 and 2 flatten each group of parameters and cut the whole into one part a process; ZeRO-3 cuts each parameter into one
part a process, padded to equal length. What DeepSpeed's ``zero_to_fp32`` makes of a checkpoint is made here too, to the bit;
under ZeRO-1 it loses frozen parameters, which are taken from the model's own weights here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from redheart.consolidation.forms.deepspeed_files import StateFile, StateFiles, check_ranks, find_states, is_mapping
from redheart.consolidation.forms.torch_archive import in_words
from redheart.consolidation.number_types import FLOAT32
from redheart.consolidation.source import Source, StoredTensor, cut, without_wrappers
from redheart.errors import StorageError

_OPTIMIZER, _STAGE, _COUNT = "optimizer_state_dict", "zero_stage", "partition_count"
#: Where the flattened fp32 weights are, by stage.
_WEIGHTS = {1: "single_partition_of_fp32_groups", 2: "single_partition_of_fp32_groups", 3: "fp32_flat_groups"}
_SHAPES, _PADDINGS = "param_shapes", "param_alignment_paddings"
_FROZEN_SHAPES, _FROZEN = "frozen_param_shapes", "frozen_param_fragments"


def read_zero(folder: Path) -> Source:
    """The checkpoint whose files lie in ``folder``.

    Raises:
        UsageError: the model was cut otherwise than by ZeRO, or a file is no file of DeepSpeed's.
        StorageError: a file is missing or damaged, or the shapes do not make up what is there.
    """
    files = find_states(folder)
    if not files.model:
        raise StorageError(f"{folder}: found no file *_model_states.pt, which says the names and shapes of the weights")
    if not files.optimizer:
        return _without_zero(files)
    optimizer = {rank: StateFile.read(path).within(_OPTIMIZER) for rank, path in files.optimizer.items()}
    first = optimizer[min(optimizer)]
    stage, count = _stage_and_count(files, optimizer)
    if stage == 3:
        check_ranks(files.model, count, folder, "the model's states under ZeRO-3")
    models = {rank: StateFile.read(path) for rank, path in files.model.items() if stage == 3 or rank == 0}
    if 0 not in models:
        raise StorageError(
            f"{folder}: found no mp_rank_00_model_states.pt, which says the names and shapes of the weights"
        )
    model = models[0]
    flat = [_flat_groups(optimizer[rank], _WEIGHTS[stage]) for rank in range(count)]
    tensors = buffers_of(model)
    if stage == 3:
        tensors |= _frozen_in_parts([models[rank] for rank in range(count)])
        tensors |= _cut_by_parameter(model, flat)
    else:
        tensors |= frozen_whole(model)
        tensors |= _cut_by_group(model, flat, first.values.get(_PADDINGS))
    tensors |= shared_with(model, tensors)
    what = f"DeepSpeed ZeRO-{stage}, {count} process{'es' if count > 1 else ''}"
    return Source(folder, what, without_wrappers(folder, tensors))


def _stage_and_count(files: StateFiles, optimizer: Mapping[int, StateFile]) -> tuple[int, int]:
    """The stage and the number of processes, as all of them say."""
    first = optimizer[min(optimizer)]
    stage, count = first.number(_STAGE), first.number(_COUNT)
    if stage not in _WEIGHTS:
        raise StorageError(f"{first.path}: {_OPTIMIZER}.{_STAGE}: found {stage}, wanted 1, 2 or 3")
    check_ranks(files.optimizer, count, files.folder, f"the optimizer's states under ZeRO-{stage}")
    for one in optimizer.values():
        if (one.number(_STAGE), one.number(_COUNT)) != (stage, count):
            raise StorageError(
                f"{one.path}: found ZeRO-{one.number(_STAGE)} with {one.number(_COUNT)} processes, and {first.path.name} is of "
                f"ZeRO-{stage} with {count}: files of two saves lie in one folder"
            )
    return stage, count


def shared_with(model: StateFile, tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Parameters that are another one's under a second name."""
    pairs = model.mapping("shared_params").items()
    return {name: tensors[other] for name, other in pairs if isinstance(other, str) and other in tensors}


def _without_zero(files: StateFiles) -> Source:
    """Stage 0: one file has the model's weights, whole."""
    model = StateFile.read(files.model[min(files.model)])
    if model.values.get(_SHAPES) is not None:
        raise StorageError(
            f"{files.folder}: found no file *_optim_states.pt, where under ZeRO the fp32 weights are; wanted one of each process"
        )
    weights = model.within("module").values
    tensors = {name: model.archive.tensor(f"module.{name}", value) for name, value in weights.items()}
    return Source(files.folder, "DeepSpeed without ZeRO", without_wrappers(files.folder, tensors))


def _flat_groups(state: StateFile, name: str) -> list[StoredTensor]:
    groups = [
        state.archive.tensor(f"{_OPTIMIZER}.{name}.{number}", value) for number, value in enumerate(state.listed(name))
    ]
    for number, group in enumerate(groups):
        if len(group.shape) != 1 or group.strides is not None:
            raise StorageError(
                f"{state.path}: {_OPTIMIZER}.{name}.{number}: found a tensor of shape {list(group.shape)}, wanted a flat one"
            )
    return groups


def buffers_of(model: StateFile) -> dict[str, StoredTensor]:
    """In fp32, whatever the model computed with, as ``zero_to_fp32`` has them."""
    names = model.listed("buffer_names")
    weights = model.mapping("module")
    return {
        name: model.archive.tensor(f"module.{name}", value).read_as(FLOAT32)
        for name, value in weights.items()
        if name in names
    }


def frozen_whole(model: StateFile) -> dict[str, StoredTensor]:
    """Parameters that no optimizer holds, under ZeRO-1 and 2: beside the weights, or among them."""
    fragments = model.mapping(_FROZEN)
    found = {}
    for name, shape in model.shapes(_FROZEN_SHAPES, model.mapping(_FROZEN_SHAPES)).items():
        found[name] = model.archive.tensor(f"{_FROZEN}.{name}", fragments.get(name))
        if found[name].shape != shape:
            raise StorageError(
                f"{model.path}: {_FROZEN}.{name}: found shape {list(found[name].shape)}, and {_FROZEN_SHAPES} says {list(shape)}"
            )
    if model.values.get(_FROZEN_SHAPES) is not None:
        return found
    # ZeRO-1 tells none of them: they are what is left.
    known = {name for group in model.listed(_SHAPES) if is_mapping(group) for name in group}
    known |= {name for name in model.listed("buffer_names") if isinstance(name, str)}
    known |= set(model.mapping("shared_params"))
    return {
        name: model.archive.tensor(f"module.{name}", value)
        for name, value in model.mapping("module").items()
        if name not in known
    }


def _frozen_in_parts(models: list[StateFile]) -> dict[str, StoredTensor]:
    """The same under ZeRO-3: a part of each a process."""
    found = {}
    for name, shape in models[0].shapes(_FROZEN_SHAPES, models[0].mapping(_FROZEN_SHAPES)).items():
        parts = [model.archive.tensor(f"{_FROZEN}.{name}", model.mapping(_FROZEN).get(name)) for model in models]
        found[name] = made_up(models[0].path, name, shape, parts)
    return found


def made_up(path: Path, name: str, shape: tuple[int, ...], parts: list[StoredTensor], start: int = 0) -> StoredTensor:
    """A tensor from number ``start`` on of what ``parts`` are one after the other."""
    types = {part.stored.name for part in parts if part.count} or {part.stored.name for part in parts}
    if len(types) > 1:
        raise StorageError(f"{path}: {name}: its parts are of types {', '.join(sorted(types))}; wanted one")
    stored = next(part.stored for part in parts if part.stored.name in types)
    runs = [run for part in parts for run in part.runs]
    try:
        cut_out = cut(runs, start * stored.size, math.prod(shape) * stored.size)
    except ValueError:
        available = sum(part.count for part in parts) - start
        raise StorageError(
            f"{path}: {name}: its shape {list(shape)} wants {math.prod(shape)} numbers, found {max(0, available)}: the shapes do "
            "not make up what the files hold"
        ) from None
    return StoredTensor(stored, stored, shape, cut_out)


def _cut_by_group(model: StateFile, flat: list[list[StoredTensor]], paddings: object) -> dict[str, StoredTensor]:
    """ZeRO-1 and 2: each group's parts of all processes, one after the other, hold its parameters one after the other."""
    groups = model.listed(_SHAPES)
    for rank, parts in enumerate(flat):
        if len(parts) != len(groups):
            raise StorageError(
                f"{model.path}: {_SHAPES}: found {len(groups)} groups of parameters, and rank {rank} holds {len(parts)}"
            )
    found: dict[str, StoredTensor] = {}
    for number, group in enumerate(groups):
        where = f"{_SHAPES}.{number}"
        parts = [each[number] for each in flat]
        shapes = model.shapes(where, group)
        between = _paddings_of(model, number, len(shapes), paddings)
        start = 0
        for (name, shape), padding in zip(shapes.items(), between, strict=True):
            found[name] = made_up(model.path, name, shape, parts, start)
            start += math.prod(shape) + padding
        # At the end of a group there may be padding, to a multiple of twice the number of processes.
        align, available = 2 * len(flat), sum(part.count for part in parts)
        if math.ceil(start / align) != math.ceil(available / align):
            raise _not_tiled(model.path, where, start, available)
    return found


def _not_tiled(path: Path, where: str, wanted: int, found: int) -> StorageError:
    return StorageError(
        f"{path}: {where}: its shapes want {wanted} numbers, and the processes' files hold {found}: they are of two models, or "
        "of two saves"
    )


def _paddings_of(model: StateFile, number: int, count: int, paddings: object) -> list[int]:
    """Numbers of padding behind each parameter of a group, where a newer DeepSpeed aligned them."""
    if paddings is None:
        return [0] * count
    of_group = paddings[number] if isinstance(paddings, list) and number < len(paddings) else None
    if not isinstance(of_group, list) or len(of_group) != count or not all(type(one) is int for one in of_group):
        raise StorageError(
            f"{model.path}: {_PADDINGS}.{number}: found {in_words(of_group)}, wanted {count} whole numbers, one a parameter"
        )
    return [int(one) for one in of_group]


def _cut_by_parameter(model: StateFile, flat: list[list[StoredTensor]]) -> dict[str, StoredTensor]:
    """ZeRO-3: in each process's flattened weights lies its part of each parameter, one after the other."""
    shapes: dict[str, tuple[int, ...]] = {}
    for number, group in enumerate(model.listed(_SHAPES)):
        shapes |= model.shapes(f"{_SHAPES}.{number}", group)
    count = len(flat)
    lengths = {name: math.ceil(math.prod(shape) / count) for name, shape in shapes.items()}
    for rank, parts in enumerate(flat):
        if (available := sum(part.count for part in parts)) != (wanted := sum(lengths.values())):
            raise _not_tiled(model.path, f"{_SHAPES}, the part of rank {rank}", wanted, available)
    return _parts_of_all(model.path, shapes, lengths, flat)


def _parts_of_all(
    path: Path, shapes: Mapping[str, tuple[int, ...]], lengths: Mapping[str, int], flat: list[list[StoredTensor]]
) -> dict[str, StoredTensor]:
    found: dict[str, StoredTensor] = {}
    start = 0
    for name, shape in shapes.items():
        parts = [made_up(path, name, (lengths[name],), of_rank, start) for of_rank in flat]
        found[name] = made_up(path, name, shape, parts)
        start += lengths[name]
    return found
