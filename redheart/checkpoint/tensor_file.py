"""A writer of safetensors files, one tensor at a time, that knows the file's SHA-256 when it is done.

safetensors' own writer takes all tensors of a file at once. Here a tensor comes when it is there – gathered from several
processes, read from another file, computed – and may go when it is written, so that memory holds one of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from redheart.checkpoint.number_types import BY_TORCH_NAME, RANK
from redheart.storage import Json
from redheart.storage.atomic import follow_umask

if TYPE_CHECKING:
    from torch import Tensor

#: Numbers that are brought to the host at a time.
_BLOCK = 1 << 22


class TensorForm(NamedTuple):
    """What a tensor will be, before it is there: PyTorch's name of its type, such as ``float32``, and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def item_bytes(self) -> int:
        return BY_TORCH_NAME[self.dtype].size

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.item_bytes

    @property
    def is_floating_point(self) -> bool:
        return BY_TORCH_NAME[self.dtype].is_floating


class Layout:
    """Where everything lies in a file of tensors of known forms.

    Args:
        forms: every tensor that will be in it.
        metadata: strings for the header.

    Attributes:
        forms: in the order in which they lie in the file.
        head: the file's first bytes.
        starts: by tensor, the place of its first byte in the file.
        bytes: of the whole file.
    """

    def __init__(self, forms: Mapping[str, TensorForm], metadata: Mapping[str, str] | None = None) -> None:
        # As the library has it, so that equal tensors make equal files: the largest types first, so that in a mapped file each
        # number lies where its type wants it; then by name.
        self.forms = dict(sorted(forms.items(), key=lambda item: (-RANK[item[1].dtype], item[0].encode())))
        header: dict[str, Json] = {"__metadata__": {"format": "pt", **(metadata or {})}}
        ends = [0]
        for name, form in self.forms.items():
            ends.append(ends[-1] + form.bytes)
            header[name] = {
                "dtype": BY_TORCH_NAME[form.dtype].name,
                "shape": [*form.shape],
                "data_offsets": [*ends[-2:]],
            }
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self.head = len(text).to_bytes(8, "little") + text
        self.starts = {name: len(self.head) + end for name, end in zip(self.forms, ends, strict=False)}
        self.bytes = len(self.head) + ends[-1]


def blocks_of(values: Tensor, dtype: str) -> Iterator[memoryview]:
    """The bytes of a tensor's numbers as ``dtype``, from whatever device, a block at a time."""
    import torch

    flat = values.detach().reshape(-1)
    for start in range(0, len(flat), _BLOCK):
        block = flat[start : start + _BLOCK].to("cpu", getattr(torch, dtype)).contiguous()
        yield block.view(torch.uint8).numpy().data


class TensorFile:
    """A file that is being written; used as a context, which leaves it whole and on disk, or not there at all.

    Args:
        forms, metadata: as of a ``Layout``.

    Raises:
        ValueError: a tensor is not as its form says, comes out of order, or is missing at the end.
        OSError: the disk is full, or the like.
    """

    def __init__(self, path: Path, forms: Mapping[str, TensorForm], metadata: Mapping[str, str] | None = None) -> None:
        self.path = path
        layout = Layout(forms, metadata)
        self._forms, self._head, self.bytes = layout.forms, layout.head, layout.bytes
        self._digest = hashlib.sha256()
        self._names = list(self._forms)
        self._written = 0
        self.sha256 = ""
        self._file = open(path, "wb")  # noqa: SIM115 - closed on leaving

    @property
    def order(self) -> list[str]:
        """The names in the order in which they lie in the file, and have to come."""
        return self._names

    def __enter__(self) -> TensorFile:
        self._file = open(self.path, "wb")
        self._put(self._head)
        return self

    def _put(self, content: bytes | memoryview) -> None:
        self._file.write(content)
        self._digest.update(content)

    def add(self, name: str, tensor: Tensor) -> None:
        """Writes the next tensor, from whatever device, in blocks."""
        form = self._forms[name]
        if self._names[self._written] != name:
            raise ValueError(f"{self.path}: tensor {name!r} came, {self._names[self._written]!r} is the next")
        if (found := form_of(tensor)) != form:
            raise ValueError(
                f"{self.path}: tensor {name!r}: found {found.dtype} {found.shape}, wanted {form.dtype} {form.shape}"
            )
        self._written += 1
        for block in blocks_of(tensor, form.dtype):
            self._put(block)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        except BaseException:
            self._drop()
            raise
        if kind is not None:
            self._drop()

    def _finish(self) -> None:
        if self._written < len(self._names):
            raise ValueError(f"{self.path}: tensor {self._names[self._written]!r} never came")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        follow_umask(self.path)
        self.sha256 = self._digest.hexdigest()

    def _drop(self) -> None:
        with contextlib.suppress(OSError):  # what could not be written is told of already
            self._file.close()
        self.path.unlink(missing_ok=True)


class _Shaped(Protocol):
    @property
    def shape(self) -> Sequence[int]: ...


def misfit_of(
    found: Mapping[str, _Shaped],
    wanted: Mapping[str, _Shaped],
    *,
    shown: type[tuple[int, ...]] | type[list[int]] = tuple,
) -> str | None:
    """In words, the first of the tensors ``found`` that is not as in ``wanted``; None: they fit, each in name and shape.

    Args:
        shown: how a shape is written, as Python does or as files have it.
    """
    for name in (*wanted, *found):
        shapes = [shown(of[name].shape) if hasattr(of.get(name), "shape") else "nothing" for of in (found, wanted)]
        if shapes[0] != shapes[1]:
            return f"{name}: found {shapes[0]}, wanted {shapes[1]}"
    return None


def form_of(tensor: Tensor) -> TensorForm:
    """The form of a tensor that is there."""
    return TensorForm(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> TensorFile:
    """Writes tensors that are there, durably. Returns the file, which knows its size and SHA-256."""
    with TensorFile(path, {name: form_of(tensor) for name, tensor in tensors.items()}, metadata) as file:
        for name in file.order:
            file.add(name, tensors[name])
    return file
