"""Sizes as they are typed, and hardware that is given in the stead of what was found."""

from __future__ import annotations

import pytest

from redheart.errors import UsageError
from redheart.machine import GIB, Gpu, Machine
from redheart.plan.hardware import Hardware, parse_bytes

FOUND = Machine((Gpu("A", 24 * GIB, 20 * GIB, (8, 6)), Gpu("B", 8 * GIB, 7 * GIB, (7, 5))), 64 * GIB, 8, GIB)


@pytest.mark.parametrize(
    ("typed", "size"),
    [
        ("8GiB", 8 * GIB),
        ("8gb", 8 * GIB),
        ("8G", 8 * GIB),
        ("1.5 GiB", 3 * GIB // 2),
        ("512MiB", GIB // 2),
        ("8589934592", 8 * GIB),
    ],
)
def test_a_size(typed: str, size: int) -> None:
    assert parse_bytes(typed) == size


@pytest.mark.parametrize(
    "typed", ["", "GiB", "-8GiB", "8 apples", "0GiB", "8GiB!", "nan", "1e9", "8i", "8", "4096", "9" * 400 + "T"]
)
def test_what_is_no_size(typed: str) -> None:
    with pytest.raises(ValueError, match="wanted a size such as 8GiB"):
        parse_bytes(typed)


def test_of_unlike_gpus_the_smallest_counts() -> None:
    found = Hardware.of(FOUND)
    assert (found.gpus, found.gpu_bytes, found.gpu_name, found.has_bf16) == (2, 7 * GIB, "B", False)


def test_what_is_given_takes_the_place_of_what_was_found() -> None:
    given = Hardware.of(FOUND).given(gpus=4, gpu_bytes=80 * GIB, host_bytes=512 * GIB, nodes=2)
    assert (given.gpus, given.gpu_bytes, given.host_bytes, given.nodes) == (4, 80 * GIB, 512 * GIB, 2)
    bare = Hardware.of(Machine((), 64 * GIB, 8, GIB))
    assert bare.given(gpus=None, gpu_bytes=8 * GIB, host_bytes=None, nodes=None).gpus == 1
    with pytest.raises(UsageError, match="--gpu-memory"):
        bare.given(gpus=2, gpu_bytes=None, host_bytes=None, nodes=None)
