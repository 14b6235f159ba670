"""A safetensors file that is written a tensor at a time: what the library reads of it, its hash, and what is left of a failure."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from redheart.checkpoint import tensor_file
from redheart.checkpoint.tensor_file import TensorFile, TensorForm, write_tensors
from redheart.storage import sha256_of

TYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
]


def test_the_library_reads_every_type_and_shape_back_and_the_hash_is_the_files(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tensor_file, "_BLOCK", 5)  # several blocks, the last one short
    values = torch.arange(-6, 6)
    tensors = {f"{dtype}": values.to(dtype).view(3, 4).t() for dtype in TYPES}  # not contiguous
    tensors |= {"a scalar": torch.tensor(1.5), "nothing": torch.empty(0, 3), "이름": torch.ones(1)}
    written = write_tensors(tmp_path / "a", tensors, {"kept": "말"})
    assert written.sha256 == sha256_of(tmp_path / "a") and written.bytes == os.path.getsize(tmp_path / "a")
    read = load_file(str(tmp_path / "a"))
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype and torch.equal(read[name], tensor), name
    with safe_open(tmp_path / "a", framework="pt") as opened:
        assert opened.metadata() == {"format": "pt", "kept": "말"}


def test_the_file_is_the_librarys_byte_by_byte(tmp_path: Path) -> None:
    """So that the hashes of a model's files are its weights' identity, whoever wrote them."""
    tensors = {
        f"{name}.{dtype}".removeprefix("torch."): torch.ones(2, 3).to(dtype) for dtype in TYPES for name in "ba가"
    }
    write_tensors(tmp_path / "ours", tensors)
    save_file(tensors, str(tmp_path / "library"), {"format": "pt"})
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "library").read_bytes()


def test_numbers_lie_where_their_type_wants_them(tmp_path: Path) -> None:
    tensors = {f"{number}{dtype}": torch.ones(3).to(dtype) for number in range(2) for dtype in TYPES}
    write_tensors(tmp_path / "a", tensors)
    content = (tmp_path / "a").read_bytes()
    size = int.from_bytes(content[:8], "little")
    for name, entry in json.loads(content[8 : 8 + size]).items():
        if name != "__metadata__":
            assert (8 + size + entry["data_offsets"][0]) % tensors[name].dtype.itemsize == 0


def test_a_tensor_that_is_not_what_was_said_or_never_comes_leaves_no_file(tmp_path: Path) -> None:
    forms = {"a": TensorForm("float32", (2,)), "b": TensorForm("float32", (2,))}
    for given, said in (
        ([("b", torch.ones(2))], "'b' came, 'a' is the next"),
        ([("a", torch.ones(3))], r"'a': found float32 \(3,\), wanted float32 \(2,\)"),
        ([("a", torch.ones(2).half())], "found float16"),
        ([("a", torch.ones(2))], "'b' never came"),
    ):
        with pytest.raises(ValueError, match=said), TensorFile(tmp_path / "x", forms) as file:
            for name, tensor in given:
                file.add(name, tensor)
        assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_no_file(tmp_path: Path, monkeypatch) -> None:
    put, calls = TensorFile._put, []

    def full(self: TensorFile, content: bytes) -> None:
        calls.append(len(content))
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        put(self, content)

    monkeypatch.setattr(tensor_file, "_BLOCK", 5)
    monkeypatch.setattr(TensorFile, "_put", full)
    with pytest.raises(OSError, match="No space left"):
        write_tensors(tmp_path / "a", {"a": torch.ones(20)})
    assert len(calls) == 3 and not list(tmp_path.iterdir())
