"""Files that are written a slice at a time: the same as the libraries', which want all of it in memory, would write or read."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from redheart.consolidation import open_source, reading
from redheart.consolidation.number_types import BY_NAME, NUMBER_TYPES
from redheart.consolidation.reading import Reader
from redheart.consolidation.source import Source
from redheart.consolidation.writers.safetensors_file import write_safetensors
from redheart.consolidation.writers.torch_archive import size_of, write_archive
from redheart.consolidation.writers.written_file import WrittenFile
from tests.checkpoint.states import same_bits
from tests.consolidation.made import tensors_of


@pytest.fixture
def state() -> dict[str, Tensor]:
    """A tensor of every type, and shapes and names that are easily got wrong."""
    generator = torch.Generator().manual_seed(2)
    bits = {
        one.torch_name: torch.randint(0, 2, (24,), generator=generator, dtype=torch.uint8)
        .to(torch.bool if one.torch_name == "bool" else torch.uint8)
        .view(getattr(torch, one.torch_name))
        for one in NUMBER_TYPES
    }
    return bits | {
        "b.weight": torch.randn(5, 3, generator=generator),
        "a.weight": torch.randn(4, 6, generator=generator).t(),
        "number": torch.tensor(2.5),
        "nothing": torch.zeros(0, 3),
        "이름": torch.randn(2, generator=generator).bfloat16(),
        'quote"d': torch.arange(3),
    }


def _source_of(state: dict[str, Tensor], folder: Path) -> Source:
    torch.save(state, folder / "source.pth")
    return open_source(folder / "source.pth")


@pytest.mark.parametrize("size", [8, 4096])
def test_a_safetensors_file_has_the_bytes_that_the_library_would_write(
    state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(reading, "SLICE", size)
    source = _source_of(state, tmp_path)
    with Reader() as reader, WrittenFile(tmp_path / "ours.safetensors") as file:
        write_safetensors(file, reader, source.tensors, {"format": "pt"})
    whole = {name: tensor.contiguous() for name, tensor in state.items()}
    save_file(whole, tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    written = (tmp_path / "ours.safetensors").read_bytes()
    assert written == (tmp_path / "theirs.safetensors").read_bytes()
    assert file.sha256 == hashlib.sha256(written).hexdigest() and file.size == len(written)


@pytest.mark.parametrize("mapped", [False, True])
def test_an_archive_is_read_by_pytorch_as_what_it_would_have_written(
    state: dict[str, Tensor], tmp_path: Path, mapped: bool
) -> None:
    state["again"] = state["b.weight"]
    source = _source_of(state, tmp_path)
    path = tmp_path / "ours.pth"
    with Reader() as reader, WrittenFile(path) as file:
        write_archive(file, reader, source.tensors)
    found = torch.load(path, weights_only=True, mmap=mapped)
    assert list(found) == list(state)
    assert same_bits(found, {name: tensor.contiguous() for name, tensor in state.items()})
    assert found["again"].data_ptr() == found["b.weight"].data_ptr(), "what was one tensor is one"
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert file.size == path.stat().st_size <= size_of(source.tensors)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert all(one.compress_type == zipfile.ZIP_STORED for one in archive.infolist())
    again = open_source(path)
    assert all(record.start % 64 == 0 for record in again.records), "PyTorch can map them"
    assert same_bits(tensors_of(again), {name: tensor.contiguous() for name, tensor in state.items()})


@pytest.mark.parametrize("wanted", ["F32", "BF16"])
def test_numbers_are_cast_as_pytorch_casts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    """Rounded to even, infinities and NaN kept; what are no floating-point numbers stay as they are."""
    monkeypatch.setattr(reading, "SLICE", 40)
    odd = [0.0, -0.0, float("inf"), -float("inf"), float("nan"), 1e-40, 3.3895e38, 1.00390625, 1.01171875, 65504.0]
    numbers = torch.cat([torch.tensor(odd), torch.randn(50, generator=torch.Generator().manual_seed(1))])
    types = ("float32", "bfloat16", "float16", "float64")
    state = {name: numbers.to(getattr(torch, name)) for name in types} | {"count": torch.arange(7)}
    source = _source_of(state, tmp_path)
    tensors = {name: tensor.read_as(BY_NAME[wanted]) for name, tensor in source.tensors.items()}
    dtype = getattr(torch, BY_NAME[wanted].torch_name)
    found = tensors_of(Source(source.path, "", tensors))
    whole = {name: one.to(dtype) if one.is_floating_point() else one for name, one in state.items()}
    for name, one in whole.items():
        # PyTorch itself has two NaN in bf16, by whether a number was among eight that were cast at once.
        assert torch.equal(torch.isnan(found[name]), torch.isnan(one))
    assert same_bits(
        {n: one.nan_to_num() for n, one in found.items()}, {n: one.nan_to_num() for n, one in whole.items()}
    )
