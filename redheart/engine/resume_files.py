"""The files of a resume state: by tensor, each process its own slices, so that any engine with any number of processes goes on.

A process writes the fp32 weights that its optimizer steps on and AdamW's two moments of them, as ``checkpoint/slices.py``
has it, straight from the memory where they lie; in the plain engine, where all processes hold the same, the main one does.
What no optimizer holds – buffers, frozen parameters – stands in a file beside them. Nothing is pickled.

Whoever goes on reads the parts of each tensor that it holds itself, from whatever files they lie in. Where engine, strategy
and number of processes are the same, the run goes on bit by bit; with others sums are taken in another order. DeepSpeed's
AdamW for the CPU computes its bias correction from a running product that lies in no state: see ``goes_on_exactly``.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from redheart.checkpoint.resume import note_digest
from redheart.checkpoint.slices import MOMENTS, WEIGHT, Place, Slices, write_slices
from redheart.checkpoint.tensor_file import write_tensors
from redheart.engine.shards import Shard
from redheart.errors import StorageError
from redheart.storage import read_struct, write_json

_SLICES, _OUTSIDE, _RANDOM, _SCALE = (
    "slices_{:04d}.safetensors",
    "outside.safetensors",
    "random_{:04d}.json",
    "scaler.json",
)


class LossScale(msgspec.Struct, frozen=True):
    """fp16's loss scaler: its scale, and the steps since it last changed.

    Attributes:
        hysteresis: overflows until DeepSpeed's takes its scale down; None: of another, which does at once, or an earlier version's.
    """

    scale: float
    good_steps: int
    hysteresis: int | None = None


class Holder(Protocol):
    """What the files are written of and read into: as much of an engine as this needs, since engines import this file."""

    @property
    def is_main(self) -> bool: ...
    @property
    def rank(self) -> int: ...
    @property
    def shards_state(self) -> bool: ...
    def held_shards(self) -> dict[str, Shard]: ...
    def optimizer_state(self) -> Any: ...
    def make_optimizer_state(self, steps: Mapping[str, int]) -> None: ...
    def outside_tensors(self) -> dict[str, Tensor]: ...
    def set_outside_tensors(self, tensors: Mapping[str, Tensor]) -> None: ...
    def broadcast_weights(self) -> None: ...
    def loss_scale(self) -> LossScale | None: ...
    def set_loss_scale(self, found: LossScale) -> None: ...


class _RandomState(msgspec.Struct, frozen=True):
    """The generators of a process that have no seed of their own: the loop's draws are functions of seed and step."""

    torch_cpu: bytes
    torch_devices: list[bytes]
    numpy: tuple[str, list[int], int, int, float]
    python: tuple[int, list[int], float | None]


def slice_files(folder: Path) -> list[Path]:
    """The files of slices in a state's folder."""
    return sorted(folder.glob(_SLICES.replace("{:04d}", "*")))


def read_outside(folder: Path) -> dict[str, Tensor]:
    """What no optimizer held, by name.

    Raises:
        StorageError: the file can't be read.
    """
    try:
        found: dict[str, Tensor] = load_file(str(folder / _OUTSIDE))
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{folder / _OUTSIDE}: can't be read: {error}") from error
    return found


def save(engine: Holder, folder: Path, beside: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Writes this process's files. Collective.

    Args:
        beside: by kind, what else is kept of the same numbers, such as their average: ``(count,)`` by tensor.

    Raises:
        OSError: the disk is full, or the like.
    """
    folder.mkdir(parents=True, exist_ok=True)
    outside = engine.outside_tensors()
    if engine.is_main:
        write_tensors(folder / _OUTSIDE, outside)
        if (scale := engine.loss_scale()) is not None:
            write_json(folder / _SCALE, scale)
    write_json(folder / _RANDOM.format(engine.rank), _random_state(), indent=None)
    if not engine.shards_state and not engine.is_main:
        return
    shards, state = engine.held_shards(), engine.optimizer_state()
    kinds = {WEIGHT: {name: shard.values for name, shard in shards.items()}}
    for moment in MOMENTS:
        kept = {name: shard.beside(state, moment) for name, shard in shards.items()}
        kinds[moment] = {name: one for name, one in kept.items() if one is not None}
    steps = {
        name: int(state[shard.flat]["step"]) for name, shard in shards.items() if "step" in state.get(shard.flat, ())
    }
    places = {name: Place(shard.start, shard.shape) for name, shard in shards.items()}
    for kind, of_kind in beside.items():
        kinds[kind] = {name: of_kind[name] for name in shards}
    written = write_slices(folder / _SLICES.format(engine.rank), kinds, places, steps)
    note_digest(written.path, written.sha256)


def check_complete(folder: Path, world_size: int, *, shards_state: bool) -> None:
    """Whether every process's files lie in a state's folder, as the first process sees it.

    Args:
        shards_state: each process wrote slices; else the first one alone did.

    Raises:
        StorageError: some are not there; names them.
    """
    ranks = range(world_size)
    wanted = [_RANDOM.format(rank) for rank in ranks]
    wanted += [_SLICES.format(rank) for rank in (ranks if shards_state else (0,))]
    found = {path.name for path in folder.iterdir()}
    if missing := [name for name in sorted(wanted) if name not in found]:
        raise StorageError(
            f"{folder}: found no {', '.join(missing)}, wanted the files of all {world_size} processes: is it the same "
            "folder on every node, and does each node see at once what another writes there?"
        )


def load(engine: Holder, folder: Path, beside: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Reads what this process holds, whoever wrote it, and shows it to the forward pass. Collective.

    Args:
        beside: by kind, where what else was kept goes: ``(count,)`` by tensor, filled in.

    Raises:
        StorageError: a file is missing or is none of a state's, or a part of a tensor is in none.
    """
    shards = engine.held_shards()
    with Slices(slice_files(folder)) as slices:
        _check_names(slices, shards, beside, folder)
        engine.make_optimizer_state(slices.steps)
        state = engine.optimizer_state()
        with torch.no_grad():
            for kind, name, start, out in _targets(shards, state, beside):
                if slices.has(kind, name):
                    slices.read(kind, name, start, out)
                else:  # a parameter that had no gradient yet, amid a flat tensor of some that had
                    out.zero_()
    engine.broadcast_weights()
    engine.set_outside_tensors(read_outside(folder))
    if (folder / _SCALE).exists():
        engine.set_loss_scale(read_struct(folder / _SCALE, LossScale))
    if (folder / _RANDOM.format(engine.rank)).exists():  # another number of processes: some have none
        path = folder / _RANDOM.format(engine.rank)
        try:
            _set_random_state(read_struct(path, _RandomState))
        except (RuntimeError, ValueError, TypeError) as error:
            raise StorageError(
                f"{path}: no states of this version's random number generators: {error}; go on with the version of PyTorch "
                "and Python that wrote it, or start anew with --force"
            ) from error


def _targets(
    shards: Mapping[str, Shard], state: Any, beside: Mapping[str, Mapping[str, Tensor]]
) -> Iterator[tuple[str, str, int, Tensor]]:
    """Kind, tensor, where it begins, and the memory of all that is to be read."""
    for name, shard in shards.items():
        yield WEIGHT, name, shard.start, shard.values
        for moment in MOMENTS:
            if (kept := shard.beside(state, moment)) is not None:
                yield moment, name, shard.start, kept
        for kind, of_kind in beside.items():
            yield kind, name, shard.start, of_kind[name]


def _check_names(
    slices: Slices, shards: Mapping[str, Shard], beside: Mapping[str, Mapping[str, Tensor]], folder: Path
) -> None:
    for name, shard in shards.items():
        for kind in (WEIGHT, *beside):
            if not slices.has(kind, name):
                raise _lacks(folder, kind, name)
        for moment in MOMENTS:
            if name in slices.steps and not slices.has(moment, name):
                raise _lacks(folder, moment, name)
        if slices.shapes[name] != shard.shape:
            raise StorageError(
                f"{folder}: tensor {name!r}: found shape {list(slices.shapes[name])}, wanted {list(shard.shape)}"
            )


def _lacks(folder: Path, kind: str, name: str) -> StorageError:
    return StorageError(f"{folder}: found no {kind} of {name!r} in {_SLICES.replace('{:04d}', '*')}")


def _random_state() -> _RandomState:
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, internal, next_gauss = random.getstate()
    on_cuda = torch.cuda.is_available()
    return _RandomState(
        torch_cpu=torch.get_rng_state().numpy().tobytes(),
        torch_devices=[torch.cuda.get_rng_state().numpy().tobytes()] if on_cuda else [],
        numpy=(str(kind), [int(key) for key in keys], int(position), int(has_gauss), float(gauss)),
        python=(version, list(internal), next_gauss),
    )


def _set_random_state(found: _RandomState) -> None:
    torch.set_rng_state(_as_tensor(found.torch_cpu))
    if found.torch_devices and torch.cuda.is_available():
        torch.cuda.set_rng_state(_as_tensor(found.torch_devices[0]))
    kind, keys, position, has_gauss, gauss = found.numpy
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, gauss))
    version, internal, next_gauss = found.python
    random.setstate((version, tuple(internal), next_gauss))


def _as_tensor(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)
