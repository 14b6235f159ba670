"""Slices by any number of processes, read by any other; and what is said where a part is not there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from redheart.checkpoint import slices as slices_module
from redheart.checkpoint.slices import Place, Slices, write_slices
from redheart.errors import StorageError

WHOLE = {"a": torch.arange(35.0).view(5, 7), "b": torch.arange(6.0), "c": torch.tensor(3.5)}


def cut(tensor: torch.Tensor, processes: int, rank: int) -> tuple[int, torch.Tensor]:
    size = -(-tensor.numel() // processes)
    return rank * size, tensor.reshape(-1)[rank * size : (rank + 1) * size]


def written_by(folder: Path, processes: int) -> list[Path]:
    """What so many processes write, each its part of each tensor, where it has one."""
    folder.mkdir()
    paths = []
    for rank in range(processes):
        parts = {name: cut(tensor, processes, rank) for name, tensor in WHOLE.items()}
        parts = {name: part for name, part in parts.items() if len(part[1])}
        places = {name: Place(start, tuple(WHOLE[name].shape)) for name, (start, _) in parts.items()}
        kinds = {"weight": {n: v for n, (_, v) in parts.items()}, "exp_avg": {n: -v for n, (_, v) in parts.items()}}
        paths.append(folder / f"slices_{rank}.safetensors")
        write_slices(paths[-1], kinds, places, dict.fromkeys(parts, 7))
    return paths


@pytest.mark.parametrize("writers", [1, 2, 3, 5])
@pytest.mark.parametrize("readers", [1, 2, 3, 5])
def test_any_number_of_processes_reads_its_part_of_what_any_other_wrote(
    tmp_path: Path, monkeypatch, writers: int, readers: int
) -> None:
    monkeypatch.setattr(slices_module, "_BLOCK", 4)
    with Slices(written_by(tmp_path / "state", writers)) as slices:
        assert slices.shapes == {name: tuple(tensor.shape) for name, tensor in WHOLE.items()}
        assert slices.steps == dict.fromkeys(WHOLE, 7)
        assert slices.has("exp_avg", "a") and not slices.has("exp_avg_sq", "a")
        for name, tensor in WHOLE.items():
            assert torch.equal(slices.whole("exp_avg", name), -tensor)
            for rank in range(readers):
                start, expected = cut(tensor, readers, rank)
                out = torch.full_like(expected, torch.nan)
                slices.read("weight", name, start, out)
                assert torch.equal(out, expected)


def test_a_part_that_is_missing_or_there_twice_is_named(tmp_path: Path) -> None:
    paths = written_by(tmp_path / "state", 3)
    with pytest.raises(
        StorageError, match=r"numbers 24 to 34 of exp_avg of 'a' are missing.*slices_0.*is the file of one"
    ):
        Slices(paths[:2])
    with pytest.raises(StorageError, match=r"slices_2.*numbers 12 to 23 of \w+ of 'a' are missing"):
        Slices([paths[0], paths[2]])
    with pytest.raises(StorageError, match="are in two files"):
        Slices([*paths, *written_by(tmp_path / "again", 1)])


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"\xff" * 100], ids=["empty", "pickle", "noise"])
def test_a_file_that_is_none_of_a_states_is_named(tmp_path: Path, content: bytes) -> None:
    paths = written_by(tmp_path / "state", 2)
    paths[1].write_bytes(content)
    with pytest.raises(StorageError, match=r"slices_1\.safetensors: is no file of a state's slices"):
        Slices(paths)


def test_two_files_of_models_of_different_shape_are_told(tmp_path: Path) -> None:
    places = {"a": Place(0, (2, 3))}
    write_slices(tmp_path / "0", {"weight": {"a": torch.ones(6)}}, places, {})
    write_slices(tmp_path / "1", {"weight": {"a": torch.ones(6)}}, {"a": Place(6, (4, 3))}, {})
    with pytest.raises(StorageError, match=r"1: tensor 'a': found shape \[4, 3\], the other files say \[2, 3\]"):
        Slices([tmp_path / "0", tmp_path / "1"])
