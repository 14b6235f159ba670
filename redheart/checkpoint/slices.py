"""Slices of a model's tensors: what each process writes of the weights and of what the optimizer keeps, and the reading of
any part of them by any other number of processes.

A file holds one-dimensional runs of numbers, named ``kind/tensor``: kind ``weight`` for the fp32 weights, ``exp_avg`` and
``exp_avg_sq`` for AdamW's moments, others by whoever adds them. Its metadata says for each tensor where in the flattened
whole the run begins and what the whole's shape is (``places``), and after how many optimizer steps it is (``steps``). So it
says nothing of engines, of strategies, or of how many processes there were.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from redheart.checkpoint.tensor_file import TensorFile, write_tensors
from redheart.errors import StorageError

WEIGHT = "weight"
MOMENTS = ("exp_avg", "exp_avg_sq")
#: Numbers that are read at a time.
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Place:
    """Where a run of numbers belongs: from ``start`` on in the flattened tensor of ``shape``."""

    start: int
    shape: tuple[int, ...]


def write_slices(
    path: Path, kinds: Mapping[str, Mapping[str, Tensor]], places: Mapping[str, Place], steps: Mapping[str, int]
) -> TensorFile:
    """Writes one process's runs, durably.

    Args:
        kinds: by kind and tensor's name, ``(count,)``, on whatever device; a kind may lack tensors, and has none beside those
            of ``places``.
        steps: optimizer steps by tensor.

    Raises:
        OSError: the disk is full, or the like; no file is left.
    """
    metadata = {
        "places": json.dumps({name: [place.start, *place.shape] for name, place in places.items()}),
        "steps": json.dumps(dict(steps)),
    }
    tensors = {f"{kind}/{name}": one for kind, of_kind in kinds.items() for name, one in of_kind.items()}
    return write_tensors(path, tensors, metadata)


@dataclass(frozen=True)
class _Run:
    """A run as it lies in a file."""

    file: Any
    path: Path
    start: int
    count: int


class Slices:
    """The runs of several files, which together hold each tensor whole.

    Args:
        files: of all processes that wrote.

    Attributes:
        shapes: by tensor's name; steps: optimizer steps by tensor's name.

    Raises:
        StorageError: a file can't be read, or a part of a tensor is in none of them, or in two.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.steps: dict[str, int] = {}
        self._runs: dict[tuple[str, str], list[_Run]] = {}
        self._paths = sorted(files)
        self._opened = contextlib.ExitStack()
        try:
            for path in self._paths:
                self._open(path)
            for (kind, name), runs in self._runs.items():
                self._check_whole(kind, name, runs)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Slices:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the files."""
        self._runs = {}
        self._opened.close()

    def _open(self, path: Path) -> None:
        try:
            opened: Any = self._opened.enter_context(safe_open(path, framework="pt"))
            metadata = opened.metadata()
            places = {
                name: Place(start, tuple(shape)) for name, (start, *shape) in json.loads(metadata["places"]).items()
            }
            self.steps |= json.loads(metadata["steps"])
            for key in opened.keys():  # noqa: SIM118 - not a mapping
                kind, _, name = key.partition("/")
                place = places[name]
                count = opened.get_slice(key).get_shape()[0]
                self._runs.setdefault((kind, name), []).append(_Run(opened, path, place.start, count))
                self.shapes.setdefault(name, place.shape)
                if self.shapes[name] != place.shape:
                    raise StorageError(
                        f"{path}: tensor {name!r}: found shape {list(place.shape)}, the other files say {list(self.shapes[name])}"
                    )
        except (OSError, SafetensorError, KeyError, IndexError, TypeError, ValueError) as error:
            raise StorageError(f"{path}: is no file of a state's slices: {type(error).__name__}: {error}") from error

    def _check_whole(self, kind: str, name: str, runs: list[_Run]) -> None:
        runs.sort(key=lambda run: run.start)
        end = 0
        for run in runs:
            if run.start != end:
                what = "are in two files" if run.start < end else "are missing"
                first, last = sorted((run.start, end))
                raise StorageError(f"{run.path}: numbers {first} to {last - 1} of {kind} of {name!r} {what}")
            end += run.count
        if end != (wanted := math.prod(self.shapes[name])):
            raise StorageError(
                f"{self._paths[0].parent}: numbers {end} to {wanted - 1} of {kind} of {name!r} are missing: found "
                f"{', '.join(path.name for path in self._paths)}; is the file of one process gone?"
            )

    def has(self, kind: str, name: str) -> bool:
        """Whether there is something of a kind for a tensor."""
        return (kind, name) in self._runs

    def names(self, kind: str) -> list[str]:
        """The tensors of which there is something of a kind."""
        return [name for of, name in self._runs if of == kind]

    def read(self, kind: str, name: str, start: int, out: Tensor) -> None:
        """Fills ``out``, ``(count,)`` on whatever device, with the numbers from ``start`` on."""
        end = start + len(out)
        for run in self._runs[kind, name]:
            first, last = max(start, run.start), min(end, run.start + run.count)
            if first >= last:
                continue
            numbers = run.file.get_slice(f"{kind}/{name}")
            for begin in range(first, last, _BLOCK):
                stop = min(begin + _BLOCK, last)
                out[begin - start : stop - start].copy_(numbers[begin - run.start : stop - run.start])

    def whole(self, kind: str, name: str) -> Tensor:
        """A tensor in its shape, on the CPU, in fp32."""
        flat = torch.empty(math.prod(self.shapes[name]))
        self.read(kind, name, 0, flat)
        return flat.view(self.shapes[name])
