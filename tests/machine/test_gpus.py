"""GPUs as the management library tells them, with a stand-in for the library."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from redheart.machine.gpus import Gpu, find_gpus

GIB = 1 << 30


class NVMLError(Exception):
    pass


class Library:
    """Three devices of 8, 16 and 24 GiB."""

    NVMLError = NVMLError

    def __init__(self) -> None:
        self.is_open = False

    def nvmlInit(self) -> None:
        self.is_open = True

    def nvmlShutdown(self) -> None:
        self.is_open = False

    def nvmlDeviceGetCount(self) -> int:
        return 3

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:
        assert self.is_open
        return number

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes) -> int:
        if uuid != b"MIG-7":
            raise NVMLError
        return 0

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-{handle}abc"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return SimpleNamespace(total=8 * (handle + 1) * GIB, free=GIB)

    def nvmlDeviceGetName(self, handle: int) -> bytes:
        return f"card {handle}".encode()

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> tuple[int, int]:
        if handle == 2:
            raise NVMLError
        return (7, 5) if handle == 0 else (9, 0)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library()
    monkeypatch.setitem(sys.modules, "pynvml", made)  # type: ignore[arg-type]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    return made


def test_all_are_described_and_the_library_is_closed_again(library: Library) -> None:
    assert find_gpus() == (
        Gpu("card 0", 8 * GIB, GIB, (7, 5)),
        Gpu("card 1", 16 * GIB, GIB, (9, 0)),
        Gpu("card 2", 24 * GIB, GIB, None),
    )
    assert [gpu.has_bf16 for gpu in find_gpus()] == [False, True, False]
    assert not library.is_open


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("2,0", ["card 2", "card 0"]),
        ("", []),
        ("-1", []),
        ("1,9,0", ["card 1"]),  # as CUDA does: what comes after one that is not there is not seen
        ("GPU-1a", ["card 1"]),
        ("MIG-7", ["card 0"]),
        ("MIG-8", []),
        ("²", []),
    ],
)
def test_what_is_made_invisible_is_not_there(
    library: Library, monkeypatch: pytest.MonkeyPatch, visible: str, names: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.name for gpu in find_gpus()] == names


def test_without_a_driver_there_is_none(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise NVMLError

    monkeypatch.setattr(library, "nvmlInit", fail)
    assert find_gpus() == ()


def test_what_pytorch_cannot_use_is_not_there(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert find_gpus() == ()


def test_a_device_that_tells_nothing_of_its_memory_is_no_failure(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(handle: int) -> None:
        raise NVMLError

    monkeypatch.setattr(library, "nvmlDeviceGetMemoryInfo", fail)
    assert find_gpus() == ()
    assert not library.is_open
